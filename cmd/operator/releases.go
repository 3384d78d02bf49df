package main

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"time"

	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/metrics"

	"github.com/sluice-mesh/sluice/analysis/prometheus"
	"github.com/sluice-mesh/sluice/controllers"
	"github.com/sluice-mesh/sluice/controllers/announce"
	"github.com/sluice-mesh/sluice/controllers/runs"
	"github.com/sluice-mesh/sluice/internal/version"
	"github.com/sluice-mesh/sluice/notifier"
	"github.com/sluice-mesh/sluice/notifier/slack"
	"github.com/sluice-mesh/sluice/notifier/webhook"
)

// addReleases adds what the leader does: reconcile, judge, follow the other replicas, tell people.
func addReleases(ctx context.Context, m ctrl.Manager, o options, xds *mesh, logger *slog.Logger) error {
	judge, err := newJudge(o)
	if err != nil {
		return err
	}
	looks := controllers.NewLooks(judge, time.Now)
	announcer, leading, err := newAnnouncer(m, o, logger)
	if err != nil {
		return err
	}
	_, port, err := net.SplitHostPort(o.peersAddress)
	if err != nil {
		return fmt.Errorf("--peers-address: %w", err)
	}
	others := &peers{
		cache: m.GetCache(), namespace: o.namespace, service: o.peersService, port: port,
		self: os.Getenv("POD_NAME"), follow: xds.Follow,
	}
	for _, runnable := range append(leading, looks, others) {
		if err := m.Add(runnable); err != nil {
			return fmt.Errorf("add to manager: %w", err)
		}
	}
	reconciler := &controllers.RolloutReconciler{
		Client: m.GetClient(), Reader: m.GetAPIReader(), Events: m.GetEventRecorder("sluice"),
		Mesh: xds, Looks: looks, Teller: announcer,
		Meter: controllers.NewMeter(metrics.Registry), Now: time.Now,
	}
	if err := reconciler.SetupWithManager(ctx, m); err != nil {
		return fmt.Errorf("set up the reconciler: %w", err)
	}
	return addRuns(m, o)
}

// addRuns adds what measures the metrics of analysis templates.
func addRuns(m ctrl.Manager, o options) error {
	asked, err := o.prometheus.options()
	if err != nil {
		return err
	}
	asked.MaxBytes, asked.Timeout = 4<<20, time.Minute // a metric sets its own timeout, a minute at most
	installation, err := prometheus.NewClient(asked)
	if err != nil {
		return fmt.Errorf("--prometheus-address: %w", err)
	}
	reconciler := &runs.Reconciler{
		Client: m.GetClient(), Reader: m.GetAPIReader(), Events: m.GetEventRecorder("sluice"),
		Prometheus: installation, Jobs: o.runJobs, Now: time.Now,
	}
	if err := reconciler.SetupWithManager(m); err != nil {
		return fmt.Errorf("set up the reconciler of analyses: %w", err)
	}
	return nil
}

// newAnnouncer makes the channels that the flags name, and what of them must run.
func newAnnouncer(m ctrl.Manager, o options, logger *slog.Logger) (*announce.Announcer, []manager.Runnable, error) {
	webhooks := webhook.New(webhook.Config{Version: version.Version})
	channels := map[string]func(notifier.Target) notifier.Notifier{notifier.ChannelWebhook: webhooks.To}
	var leading []manager.Runnable
	if o.slackTokenDir != "" {
		bot := slack.New(slack.Config{
			Tokens:    slack.TokenFiles(filepath.Join(o.slackTokenDir, "bot-token"), filepath.Join(o.slackTokenDir, "app-token")),
			Threads:   &announce.Threads{Client: m.GetClient(), Reader: m.GetAPIReader()},
			Approvals: &announce.Approvals{Client: m.GetClient(), Reader: m.GetAPIReader(), Installation: o.slackApprovers},
			APIURL:    o.slackAPIURL,
			Log:       logger.With("part", "slack"),
		})
		channels[notifier.ChannelSlack] = bot.To
		leading = append(leading, manager.RunnableFunc(bot.Run))
	}
	queue, err := notifier.NewQueue(notifier.Config{Channels: channels, Registerer: metrics.Registry, Log: logger.With("part", "notifier")})
	if err != nil {
		return nil, nil, err
	}
	announcer := announce.New(announce.Announcer{
		Reader: m.GetAPIReader(), Queue: queue, Slack: o.slackTokenDir != "", Now: time.Now, Log: logger,
	})
	return announcer, append(leading, manager.RunnableFunc(queue.Run), manager.RunnableFunc(announcer.Run)), nil
}
