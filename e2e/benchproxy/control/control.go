// Package control is the control plane of the benchmark: the operator's own xDS server with meshes that lead
// to the backends.
package control

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"time"

	"github.com/sluice-mesh/sluice/mesh/ir"
	"github.com/sluice-mesh/sluice/mesh/xds/server"
)

// Plane serves a mesh to our proxy.
type Plane struct {
	server  *server.Server
	address string
	stop    context.CancelFunc
	ended   chan struct{}
}

// Start serves the mesh on a free port of loopback until Close.
func Start(ctx context.Context, mesh ir.Mesh) (*Plane, error) {
	var config net.ListenConfig
	listener, err := config.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("open control plane: %w", err)
	}
	p := &Plane{
		server:  server.New(server.Options{Replica: "bench", Logger: slog.New(slog.DiscardHandler)}),
		address: listener.Addr().String(), ended: make(chan struct{}),
	}
	if err := p.server.Publish(mesh); err != nil {
		listener.Close()
		return nil, fmt.Errorf("publish mesh: %w", err)
	}
	serving, stop := context.WithCancel(context.WithoutCancel(ctx))
	p.stop = stop
	go func() {
		defer close(p.ended)
		_ = p.server.Serve(serving, listener) // its clients say so when it ends early
	}()
	return p, nil
}

// Address of it.
func (p *Plane) Address() string { return p.address }

// Close ends it.
func (p *Plane) Close() {
	p.stop()
	<-p.ended
}

// Publish makes this the mesh.
func (p *Plane) Publish(mesh ir.Mesh) error {
	if err := p.server.Publish(mesh); err != nil {
		return fmt.Errorf("publish mesh: %w", err)
	}
	return nil
}

// InForce waits until the clients that ask for the service have the decision about its split in force, at least
// one of them. False: they had not within the time.
func (p *Plane) InForce(ctx context.Context, service ir.Service, within time.Duration) bool {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	query := server.Query{Namespace: service.Namespace, Service: service.Name, Owner: service.Split.Owner, Epoch: service.Split.Epoch}
	for {
		changed := p.server.Changed()
		if state := p.server.Convergence(query); state.Live() && len(state.Converged) > 0 {
			return true
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return false
		}
	}
}

// Destinations that our proxy is told connections were going to. They lead nowhere but through the mesh, and are
// of loopback so that a proxy that has no configuration asks nobody else.
var (
	H1   = netip.MustParseAddrPort("127.96.0.1:4080")
	H2   = netip.MustParseAddrPort("127.96.0.2:4080")
	GRPC = netip.MustParseAddrPort("127.96.0.3:4080")
	TCP  = netip.MustParseAddrPort("127.96.0.4:4080")
)

// Names of the services as clients call them, for a certificate.
func Names() []string {
	names := []string{"localhost"}
	for _, service := range []string{"h1", "h2", "grpc", "tcp"} {
		names = append(names, service+"."+namespace, service+"."+namespace+".svc", service+"."+namespace+".svc.cluster.local")
	}
	return names
}
