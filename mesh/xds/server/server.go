// Package server serves the mesh to proxies over xDS (ADS, state of the world and delta) and knows which
// of them have what in force.
package server

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc/credentials"

	"github.com/sluice-mesh/sluice/mesh/ir"
)

// Options of a Server. The zero value works and serves in plaintext.
type Options struct {
	// Replica names this process to the other replicas (its pod's name).
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
}

// Server holds the published mesh and the streams of its clients. Its methods may be called from any
// goroutine.
type Server struct{}

// New makes a server. It has no goroutines and no connections until Serve.
func New(options Options) *Server { return &Server{} }

var errSkeleton = errors.New("not written yet")

// Publish makes this the mesh that clients get. A service that is not valid keeps what was published
// of it before, and the error names it; the others are published all the same. Publishing what is
// published already sends nothing.
func (s *Server) Publish(mesh ir.Mesh) error { return errSkeleton }

// Ready is closed by the first Publish. Serve accepts nobody before.
func (s *Server) Ready() <-chan struct{} { return nil }

// Serve waits for the first Publish, then serves xDS on the listener until the context ends, and closes
// the listener. It returns nil when the context ended it.
func (s *Server) Serve(ctx context.Context, listener net.Listener) error { return errSkeleton }

// Handler streams this replica's acknowledgements as JSON lines, for Follow of other replicas: all
// there is first, then what changes, with heartbeats.
func (s *Server) Handler() http.Handler { return nil }

// Follow merges another replica's acknowledgements (its Handler at url) into the answers of
// Convergence, connecting again with back-off, until the context ends; then the replica is forgotten.
// From the call on, until it has been heard and whenever it is lost, the replica counts as lagging. One
// that says it serves nobody yet does not count. It blocks; its error is only ever the context's.
func (s *Server) Follow(ctx context.Context, replica, url string) error { return errSkeleton }

// Query asks about one decision of a split.
type Query struct {
	Namespace, Service string
	// Owner and Epoch of the decision. A newer epoch of the same owner answers for an older one.
	Owner string
	Epoch int64
}

// State says which clients, over all replicas, have a decision in force. Clients that do not subscribe
// to the service's routes are not listed: there is nothing for them to acknowledge.
type State struct {
	// Converged have acknowledged the routes and the clusters and endpoints of every weighted subset.
	// Waiting have not answered yet. Sorted node ids ("<pod>.<namespace>" of our proxies).
	Converged, Waiting []string
	// Rejected have refused a part of it; by node id, the client's own words.
	Rejected map[string]string
	// Lagging replicas serve without having published this decision, or cannot be heard. Sorted.
	Lagging []string
	// Clamped replicas have published it, but with other shares than its weight asks for, because a
	// revision has no ready endpoint there. Sorted.
	Clamped []string
}

// Live reports whether the decision is in force wherever it can be. It is true of a moment: a client
// that connects later makes it false until that one has acknowledged; latch it per epoch.
func (s State) Live() bool {
	return len(s.Waiting)+len(s.Rejected)+len(s.Lagging)+len(s.Clamped) == 0
}

// Convergence answers from memory, at once.
func (s *Server) Convergence(query Query) State { return State{} }

// Changed returns a channel that is closed at the next change that may change an answer of
// Convergence. Take the channel first, then ask, then wait on it.
func (s *Server) Changed() <-chan struct{} { return nil }
