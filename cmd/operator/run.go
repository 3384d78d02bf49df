package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/go-logr/logr"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/selection"
	"k8s.io/client-go/discovery"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/metrics"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"
	gateway "sigs.k8s.io/gateway-api/apis/v1"
	gatewaybeta "sigs.k8s.io/gateway-api/apis/v1beta1"

	"github.com/sluice-mesh/sluice/api/v1alpha1"
	"github.com/sluice-mesh/sluice/controllers"
	"github.com/sluice-mesh/sluice/controllers/meshsync"
	"github.com/sluice-mesh/sluice/controllers/traffic"
	"github.com/sluice-mesh/sluice/internal/meshstatus"
	"github.com/sluice-mesh/sluice/mesh/xds/server"
)

// newScheme knows the kinds that the operator reads and writes.
func newScheme() (*runtime.Scheme, error) {
	scheme := runtime.NewScheme()
	if err := errors.Join(
		clientgoscheme.AddToScheme(scheme), v1alpha1.AddToScheme(scheme), gateway.Install(scheme), gatewaybeta.Install(scheme),
	); err != nil {
		return nil, fmt.Errorf("build scheme: %w", err)
	}
	return scheme, nil
}

// run is the operator until it is told to stop.
func run(ctx context.Context, o options) error {
	logger, err := newLogger(o.logLevel)
	if err != nil {
		return err
	}
	slog.SetDefault(logger)
	ctrl.SetLogger(logr.FromSlogHandler(logger.Handler()))

	m, err := newManager(o)
	if err != nil {
		return err
	}
	replica := os.Getenv("POD_NAME")
	xds := &mesh{replica: replica, Server: server.New(server.Options{Replica: replica, Registerer: metrics.Registry, Logger: logger.With("part", "xds")})}
	syncer, err := newSyncer(ctx, m, o, xds)
	if err != nil {
		return err
	}
	if err := addServing(m, o, xds, syncer); err != nil {
		return err
	}
	if err := addReleases(ctx, m, o, xds, logger); err != nil {
		return err
	}
	if err := (&traffic.Reconciler{Client: m.GetClient(), Reader: m.GetAPIReader(), Judge: syncer}).SetupWithManager(m); err != nil {
		return fmt.Errorf("set up the reconciler of traffic: %w", err)
	}
	if err := m.AddReadyzCheck("mesh", func(*http.Request) error {
		select {
		case <-syncer.Ready():
			return nil
		default:
			return errors.New("the first mesh is not built yet")
		}
	}); err != nil {
		return fmt.Errorf("add readiness check: %w", err)
	}
	if err := m.AddHealthzCheck("ping", healthz.Ping); err != nil {
		return fmt.Errorf("add health check: %w", err)
	}
	return m.Start(ctx)
}

func newLogger(level string) (*slog.Logger, error) {
	var l slog.Level
	if err := l.UnmarshalText([]byte(level)); err != nil {
		return nil, fmt.Errorf("--log-level: %q is none of debug, info, warn, error", level)
	}
	return slog.New(slog.NewJSONHandler(os.Stderr, &slog.HandlerOptions{Level: l})), nil
}

// newManager reads and watches through one cache. Deployments and ReplicaSets are kept raw, so that no
// field of a template is lost; pods are stripped to what is read.
func newManager(o options) (ctrl.Manager, error) {
	scheme, err := newScheme()
	if err != nil {
		return nil, err
	}
	config, err := ctrl.GetConfig()
	if err != nil {
		return nil, fmt.Errorf("find the cluster: %w", err)
	}
	config.QPS, config.Burst = -1, -1 // the API server's own fairness decides
	config.UserAgent = "sluice-operator"
	ours, err := labels.NewRequirement(v1alpha1.LabelAnalysisRun, selection.Exists, nil) // of the cluster's Jobs
	if err != nil {
		return nil, fmt.Errorf("select jobs: %w", err)
	}
	lease, renew, retry := 10*time.Second, 7*time.Second, time.Second
	m, err := ctrl.NewManager(config, ctrl.Options{
		Scheme:                        scheme,
		LeaderElection:                o.leaderElect,
		LeaderElectionID:              "sluice-operator",
		LeaderElectionNamespace:       o.namespace,
		LeaderElectionReleaseOnCancel: true,
		LeaseDuration:                 &lease, RenewDeadline: &renew, RetryPeriod: &retry,
		HealthProbeBindAddress: o.healthAddress,
		Metrics:                metricsserver.Options{BindAddress: o.metricsAddress},
		Client:                 client.Options{Cache: &client.CacheOptions{Unstructured: true, DisableFor: []client.Object{&corev1.Secret{}, &corev1.ConfigMap{}}}},
		Cache: cache.Options{
			DefaultTransform: cache.TransformStripManagedFields(),
			ByObject: map[client.Object]cache.ByObject{
				&corev1.Pod{}:  {Transform: controllers.StripPod},
				&batchv1.Job{}: {Label: labels.NewSelector().Add(*ours)},
			},
		},
	})
	if err != nil {
		return nil, fmt.Errorf("set up the manager: %w", err)
	}
	return m, nil
}

// newSyncer makes what derives the mesh.
func newSyncer(ctx context.Context, m ctrl.Manager, o options, xds *mesh) (*meshsync.Syncer, error) {
	settings, err := o.settings.mesh()
	if err != nil {
		return nil, err
	}
	kinds, err := discovery.NewDiscoveryClientForConfigAndClient(m.GetConfig(), m.GetHTTPClient())
	if err != nil {
		return nil, fmt.Errorf("set up discovery: %w", err)
	}
	return meshsync.NewSyncer(ctx, meshsync.Options{
		Cache: m.GetCache(), Reader: m.GetAPIReader(), Discovery: kinds, Publisher: xds, Settings: settings,
	})
}

// everywhere is a Runnable that needs no leader.
type everywhere struct{ manager.RunnableFunc }

func (everywhere) NeedLeaderElection() bool { return false }

// addServing adds what every replica does: derive the mesh, serve it, and tell the leader what proxies
// have acknowledged.
func addServing(m ctrl.Manager, o options, xds *mesh, syncer *meshsync.Syncer) error {
	mux := http.NewServeMux()
	mux.Handle("GET "+ackPath, xds.Handler())
	mux.Handle("GET "+meshstatus.Path, meshstatus.Handler(xds.Status))
	for _, runnable := range []manager.Runnable{
		syncer,
		everywhere{func(ctx context.Context) error {
			select { // a port that is open before there is an answer would hold proxies here
			case <-ctx.Done():
				return nil
			case <-syncer.Ready():
			}
			listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", o.xdsAddress)
			if err != nil {
				return fmt.Errorf("listen for proxies: %w", err)
			}
			return xds.Serve(ctx, listener)
		}},
		everywhere{func(ctx context.Context) error { return serveHTTP(ctx, o.peersAddress, mux) }},
	} {
		if err := m.Add(runnable); err != nil {
			return fmt.Errorf("add to manager: %w", err)
		}
	}
	return nil
}

// serveHTTP serves until the context ends.
func serveHTTP(ctx context.Context, address string, handler http.Handler) error {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
	if err != nil {
		return fmt.Errorf("listen for replicas: %w", err)
	}
	s := &http.Server{Handler: handler, ReadHeaderTimeout: 5 * time.Second, BaseContext: func(net.Listener) context.Context { return ctx }}
	stop := context.AfterFunc(ctx, func() { _ = s.Close() })
	defer stop()
	if err := s.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve replicas: %w", err)
	}
	return nil
}
