// Package server serves the mesh to proxies over xDS (ADS, state of the world and delta) and knows which
// of them have what in force.
//
// The protocol's framing is go-control-plane's (pkg/server); what to answer and when is decided here, by
// one watcher per stream, because go-control-plane's caches decide it for all streams alike: they answer
// a rejection with what was rejected, say nothing of names that do not exist, and know no order between
// types. A stream here is given what is published and is not known to it yet, with two exceptions:
// something that refers to what the stream has not acknowledged waits, and so does the removal of
// something that the stream's routes still send requests to (see gate.go). All versions are hashes of
// content, so that a restart, another replica or a publication of the same mesh sends nothing over delta.
//
// Our own proxies ask for parts of the mesh by the addresses that they have to do with (package part);
// those are made for the names that somebody asks for, and Envoy's resources once somebody asks for any.
//
// The package knows neither Kubernetes nor who decides about splits.
package server

import (
	"context"
	"log/slog"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc/credentials"

	"github.com/sluice-mesh/sluice/mesh/xds"
	"github.com/sluice-mesh/sluice/mesh/xds/part"
)

// types that are published: Envoy's, in the order in which additions are safe, then our own proxies'.
var types = append(slices.Clone(xds.Types), part.Type)

// Options of a Server. The zero value works and serves in plaintext.
type Options struct {
	// Replica names this process to people (its pod's name).
	Replica string
	// Credentials secure the xDS port and tell who calls; nil is plaintext. This is the one place where
	// transport security and identity enter.
	Credentials credentials.TransportCredentials
	// Registerer takes the metrics; nil keeps them to oneself.
	Registerer prometheus.Registerer
	// Logger; nil is slog.Default().
	Logger *slog.Logger
	// AckDeadline is how long a client may leave a pushed answer unanswered before its stream is closed,
	// once per client until it answers again. 0 is 10 seconds.
	AckDeadline time.Duration
	// Heartbeat of the stream that replicas follow each other by; 0 is 2 seconds. A follower that hears
	// nothing for three of them counts the replica as lost.
	Heartbeat time.Duration
	// MaxConnectionAge, with some jitter, is when clients are asked to connect anew, so that they spread
	// over replicas; 0 is 30 minutes.
	MaxConnectionAge time.Duration
	// Now is the clock; nil is time.Now.
	Now func() time.Time
}

// Server holds the published mesh and the streams of its clients. Its methods may be called from any
// goroutine.
type Server struct {
	options Options
	log     *slog.Logger
	metrics *metrics
	ready   chan struct{}

	// publishing serialises Publish, which encodes outside of mu. envoy is set once a client has asked for
	// one of Envoy's types; only with mu held.
	publishing sync.Mutex
	envoy      atomic.Bool

	// mu guards what follows, and all of every stream.
	mu sync.Mutex
	// services that are published, by key, and which others their routes send requests to, by the key of
	// the latter.
	services   map[string]*service
	dependents map[string]map[string]bool
	// resources that are published, by type and name; parts are those of them that are made on demand.
	resources map[string]map[string]*resource
	parts     *parts
	// streams that are open, by id.
	streams  map[int64]*stream
	streamID int64
	// closedOnce remembers clients whose stuck stream was closed and that have not answered since.
	closedOnce map[string]bool

	convergence *convergence
}

// New makes a server. It has no goroutines and no connections until Serve.
func New(options Options) *Server {
	if options.Logger == nil {
		options.Logger = slog.Default()
	}
	if options.AckDeadline == 0 {
		options.AckDeadline = 10 * time.Second
	}
	if options.Heartbeat == 0 {
		options.Heartbeat = 2 * time.Second
	}
	if options.MaxConnectionAge == 0 {
		options.MaxConnectionAge = 30 * time.Minute
	}
	if options.Now == nil {
		options.Now = time.Now
	}
	s := &Server{
		options:     options,
		log:         options.Logger,
		metrics:     newMetrics(options.Registerer),
		ready:       make(chan struct{}),
		services:    map[string]*service{},
		dependents:  map[string]map[string]bool{},
		resources:   map[string]map[string]*resource{},
		parts:       newParts(),
		streams:     map[int64]*stream{},
		closedOnce:  map[string]bool{},
		convergence: newConvergence(),
	}
	for _, typeURL := range types {
		s.resources[typeURL] = map[string]*resource{}
	}
	return s
}

// Ready is closed by the first Publish. Serve accepts nobody before.
func (s *Server) Ready() <-chan struct{} { return s.ready }

// Serve waits for the first Publish, then serves xDS on the listener until the context ends, and closes
// the listener. It returns nil when the context ended it.
func (s *Server) Serve(ctx context.Context, listener net.Listener) error {
	select {
	case <-s.ready:
	case <-ctx.Done():
		return listener.Close()
	}
	return s.serve(ctx, listener)
}
