package main

import (
	"github.com/spf13/pflag"
)

// options are the operator's flags, as the chart sets them.
type options struct {
	namespace      string
	leaderElect    bool
	logLevel       string
	prometheus     prometheusOptions
	settings       settingsOptions
	runJobs        bool
	peersService   string
	clusterDomain  string
	slackTokenDir  string
	slackAPIURL    string
	slackApprovers []string
	xdsAddress     string
	peersAddress   string
	metricsAddress string
	healthAddress  string
}

func (o *options) bind(flags *pflag.FlagSet) {
	flags.StringVar(&o.namespace, "namespace", "sluice-system", "namespace of the installation")
	flags.BoolVar(&o.leaderElect, "leader-elect", true, "let one replica reconcile; off only for a single process")
	flags.StringVar(&o.logLevel, "log-level", "info", "debug, info, warn or error")
	o.prometheus.bind(flags)
	o.settings.bind(flags)
	flags.BoolVar(&o.runJobs, "run-jobs", true, "run Jobs for metrics of analyses that ask for them")
	flags.StringVar(&o.peersService, "peers-service", "sluice-peers", "headless Service of the operator's replicas")
	flags.StringVar(&o.clusterDomain, "cluster-domain", "cluster.local", "the cluster's DNS domain")
	flags.StringVar(&o.slackTokenDir, "slack-token-dir", "", "folder with the files bot-token and app-token; empty: no Slack")
	flags.StringVar(&o.slackAPIURL, "slack-api-url", "", "URL of Slack's API, when it is not Slack's own")
	flags.StringSliceVar(&o.slackApprovers, "slack-approvers", nil, "Slack user IDs that may approve every release")
	flags.StringVar(&o.xdsAddress, "xds-address", ":15010", "where proxies get their configuration")
	flags.StringVar(&o.peersAddress, "peers-address", ":15011", "where replicas tell each other what proxies have acknowledged")
	flags.StringVar(&o.metricsAddress, "metrics-address", ":15012", "where the operator's own metrics are")
	flags.StringVar(&o.healthAddress, "health-address", ":15013", "where /healthz and /readyz are")
}
