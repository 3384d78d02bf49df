package server

import (
	"context"
	"fmt"
	"net"
	"sync"
	"time"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	resourcev3 "github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	"github.com/envoyproxy/go-control-plane/pkg/server/delta/v3"
	"github.com/envoyproxy/go-control-plane/pkg/server/sotw/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"

	"github.com/sluice-mesh/sluice/mesh/xds"
	"github.com/sluice-mesh/sluice/mesh/xds/part"
)

const (
	// A dead client is noticed after keepaliveTime + keepaliveTimeout.
	keepaliveTime    = 5 * time.Second
	keepaliveTimeout = 3 * time.Second
	// maxRequest bounds a request: a client that reconnects lists the versions of all it has.
	maxRequest = 16 << 20
	// stopGrace is how long clients get to see that the server goes.
	stopGrace = 2 * time.Second
)

// namedOnly are the types for which a request without names asks for nothing, where for listeners and
// clusters it asks for all.
var namedOnly = []string{xds.RouteType, xds.EndpointType, part.Type}

func (s *Server) grpcOptions() []grpc.ServerOption {
	options := []grpc.ServerOption{
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: time.Second, PermitWithoutStream: true}),
		grpc.KeepaliveParams(keepalive.ServerParameters{
			Time:                  keepaliveTime,
			Timeout:               keepaliveTimeout,
			MaxConnectionAge:      s.options.MaxConnectionAge,
			MaxConnectionAgeGrace: stopGrace,
		}),
		grpc.MaxConcurrentStreams(1 << 20),
		grpc.MaxRecvMsgSize(maxRequest),
		grpc.WaitForHandlers(true),
	}
	if s.options.Credentials != nil {
		options = append(options, grpc.Creds(s.options.Credentials))
	}
	return options
}

// serve runs until the context ends: the gRPC server, and the watch over stuck streams.
func (s *Server) serve(ctx context.Context, listener net.Listener) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	server := grpc.NewServer(s.grpcOptions()...)
	var background sync.WaitGroup
	discoveryv3.RegisterAggregatedDiscoveryServiceServer(server, &aggregated{Server: s, ctx: ctx, running: &background})

	background.Go(func() { s.watchStuck(ctx) })
	background.Go(func() {
		<-ctx.Done()
		// The streams end by the same context, so this takes no longer than saying goodbye.
		force := time.AfterFunc(stopGrace, server.Stop)
		defer force.Stop()
		server.GracefulStop()
	})
	err := server.Serve(listener)
	stopped := ctx.Err() != nil
	cancel()
	background.Wait()
	if err != nil && !stopped {
		return fmt.Errorf("serve xds: %w", err)
	}
	return nil
}

// aggregated is the service as gRPC sees it.
type aggregated struct {
	*Server
	// ctx ends all streams; running counts them.
	ctx     context.Context
	running *sync.WaitGroup
}

func (a *aggregated) StreamAggregatedResources(rpc discoveryv3.AggregatedDiscoveryService_StreamAggregatedResourcesServer) error {
	return a.run(false, func(ctx context.Context, stream *stream) error {
		protocol := sotw.NewServer(ctx, stream, stream, sotw.DeactivateLegacyWildcardForTypes(namedOnly))
		return protocol.StreamHandler(rpc, resourcev3.AnyType)
	})
}

func (a *aggregated) DeltaAggregatedResources(rpc discoveryv3.AggregatedDiscoveryService_DeltaAggregatedResourcesServer) error {
	// A client that has everything from before gets no answer for long: let it see that it is heard.
	if err := rpc.SendHeader(nil); err != nil {
		return err
	}
	return a.run(true, func(ctx context.Context, stream *stream) error {
		protocol := delta.NewServer(ctx, stream, stream, delta.DeactivateLegacyWildcardForTypes(namedOnly))
		return protocol.DeltaStreamHandler(rpc, resourcev3.AnyType)
	})
}

// run holds a stream until the client ends it or we do. The protocol runs beside it: a client that
// acknowledges nothing may read nothing either, and then only the end of the call frees a blocked Send.
func (a *aggregated) run(delta bool, protocol func(context.Context, *stream) error) error {
	ctx, cancel := context.WithCancel(a.ctx)
	stream, done := a.open(delta, cancel), make(chan error, 1)
	a.running.Go(func() {
		defer cancel()
		defer a.close(stream)
		done <- protocol(ctx, stream)
	})
	var err error
	select {
	case err = <-done:
	case <-ctx.Done():
	}
	switch {
	case err != nil:
		return err
	case stream.stuck.Load():
		return status.Errorf(codes.Aborted, "no answer to what was sent for %s", a.options.AckDeadline)
	case a.ctx.Err() != nil:
		return status.Error(codes.Unavailable, "the control plane is going")
	default:
		return nil
	}
}

// watchStuck closes streams that have not answered in time, once per client: a client that is only slow
// gets a fresh start, one that is broken is left to be named as waiting.
func (s *Server) watchStuck(ctx context.Context) {
	tick := time.NewTicker(s.options.AckDeadline / 4)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			s.closeStuck(s.options.Now().Add(-s.options.AckDeadline))
		}
	}
}

func (s *Server) closeStuck(sentBefore time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, stream := range s.streams {
		if !stream.unansweredSince(sentBefore) || s.closedOnce[stream.node] {
			continue
		}
		s.closedOnce[stream.node] = true
		stream.stuck.Store(true)
		stream.cancel()
		s.log.Warn("close stream: no answer in time", "node", stream.node, "deadline", s.options.AckDeadline)
	}
}
