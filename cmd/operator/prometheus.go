package main

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/sluice-mesh/sluice/analysis/prometheus"
)

// prometheusOptions say how the installation's Prometheus is reached.
type prometheusOptions struct {
	address        string
	scrapeInterval time.Duration
	timeout        time.Duration
	connection     prometheus.Connection
	usernameFile   string
	passwordFile   string
	headers        []string
}

func (o *prometheusOptions) bind(flags *pflag.FlagSet) {
	flags.StringVar(&o.address, "prometheus-address", "http://prometheus.monitoring.svc:9090", "URL of Prometheus, which the judge asks")
	flags.DurationVar(&o.scrapeInterval, "prometheus-scrape-interval", 0, "how often Prometheus scrapes the proxies; 0 finds out")
	flags.DurationVar(&o.timeout, "prometheus-timeout", 5*time.Second, "how long one query may take")
	flags.StringVar(&o.connection.CAFile, "prometheus-ca", "", "file with the certificate authorities of the Prometheus")
	flags.StringVar(&o.connection.CertFile, "prometheus-cert", "", "file with the client certificate for it")
	flags.StringVar(&o.connection.KeyFile, "prometheus-key", "", "file with the key of the client certificate")
	flags.StringVar(&o.connection.ServerName, "prometheus-server-name", "", "name to expect in its certificate")
	flags.BoolVar(&o.connection.InsecureSkipVerify, "prometheus-insecure", false, "accept any certificate of it")
	flags.StringVar(&o.connection.BearerTokenFile, "prometheus-bearer-token-file", "", "file with the bearer token for it")
	flags.StringVar(&o.usernameFile, "prometheus-username-file", "", "file with the user for basic authentication")
	flags.StringVar(&o.passwordFile, "prometheus-password-file", "", "file with the password of that user")
	flags.StringArrayVar(&o.headers, "prometheus-header", nil, "header to send, such as X-Scope-OrgID=team; may be repeated")
}

// options are what a client of the installation's Prometheus is made with. Files are read again when they
// change, but for the user's name.
func (o prometheusOptions) options() (prometheus.Options, error) {
	options := prometheus.Options{Address: o.address, Connection: o.connection, ScrapeInterval: o.scrapeInterval, Timeout: o.timeout}
	if (o.usernameFile == "") != (o.passwordFile == "") {
		return options, errors.New("--prometheus-username-file and --prometheus-password-file go together")
	}
	if o.usernameFile != "" {
		name, err := os.ReadFile(o.usernameFile)
		if err != nil {
			return options, fmt.Errorf("--prometheus-username-file: %w", err)
		}
		options.Connection.BasicAuth = &prometheus.BasicAuth{Username: strings.TrimSpace(string(name)), PasswordFile: o.passwordFile}
	}
	for _, header := range o.headers {
		name, value, is := strings.Cut(header, "=")
		if !is || name == "" {
			return options, errors.New("--prometheus-header: give it as name=value") // never with what may be secret
		}
		if options.Connection.Headers == nil {
			options.Connection.Headers = map[string]string{}
		}
		options.Connection.Headers[name] = value
	}
	return options, nil
}
