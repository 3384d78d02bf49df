package server_test

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/xds"

	"github.com/sluice-mesh/sluice/mesh/xds/server"
)

// calls of each measurement, and how far a share may be off. The share drawn in n independent calls has
// the standard deviation sqrt(p(1-p)/n); 4.42 of them are left, on either side, once in 100,000 (normal
// approximation, which holds for n*p >= 1,000). Two measurements: a false alarm in 50,000 runs. For a
// weight of 50 that bound is 2.2 points, for 10 it is 1.3: narrower than what 99.9 % of 5,000 calls allow.
const (
	calls      = 10_000
	deviations = 4.42
)

// A client that is not ours, gRPC's own, must understand what we serve: it resolves each of the names
// from our server, sends its calls to real backends by the weights, follows new ones, and counts in
// Convergence.
//
// gRPC puts a route in force a moment after it has acknowledged it. So each measurement starts at a call
// that only the new weights can have sent where it went: after 0 the first canary call, after 100 the
// first stable one.
func TestGRPCWithoutProxy(t *testing.T) {
	stable, canary := backend(t, "stable", "127.0.0.1:0"), backend(t, "canary", "127.0.0.2:0")
	epoch := int64(0)
	s := newServer("a")
	set := func(weight uint32) {
		epoch++
		publish(t, s, echoAt(weight, epoch, stable.Addr().String(), stable.Port(), canary.Addr().String(), canary.Port()))
	}
	set(0)
	address, _ := start(t, s)

	echo := dialXDS(t, address, "echo.default:8080")
	echo.expect("stable")
	await(t, s, ask(epoch), func(state server.State) bool { return state.Live() && len(state.Converged) == 1 })
	set(10)
	await(t, s, ask(epoch), server.State.Live)
	echo.until("canary", 1)
	echo.measure(10)
	set(100)
	// So many in a row would be another's doing, at 10, once in 10^100 runs.
	echo.until("canary", 100)
	set(50)
	echo.until("stable", 1)
	echo.measure(50)
	set(0)
	echo.until("stable", 100)

	for _, name := range []string{"echo.default.svc:8080", "echo.default.svc.cluster.local:8080"} {
		dialXDS(t, address, name).expect("stable")
	}
	await(t, s, ask(epoch), server.State.Live)
	t.Logf("convergence: %+v", s.Convergence(ask(epoch)))
}

// backend is a gRPC server that says its name in a header.
func backend(t *testing.T, name, at string) netip.AddrPort {
	t.Helper()
	listener, err := net.Listen("tcp", at)
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer(grpc.UnaryInterceptor(func(ctx context.Context, request any, _ *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (any, error) {
		if err := grpc.SetHeader(ctx, metadata.Pairs("backend", name)); err != nil {
			return nil, err
		}
		return handle(ctx, request)
	}))
	healthpb.RegisterHealthServer(server, health.NewServer())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = server.Serve(listener)
	}()
	t.Cleanup(func() {
		server.Stop()
		<-done
	})
	return netip.MustParseAddrPort(listener.Addr().String())
}

// caller calls through gRPC's xDS client.
type caller struct {
	t      *testing.T
	health healthpb.HealthClient
}

func dialXDS(t *testing.T, control, name string) caller {
	t.Helper()
	bootstrap, err := json.Marshal(map[string]any{
		"xds_servers": []any{map[string]any{
			"server_uri":      control,
			"channel_creds":   []any{map[string]any{"type": "insecure"}},
			"server_features": []string{"xds_v3"},
		}},
		"node": map[string]any{"id": "grpc." + name},
	})
	if err != nil {
		t.Fatal(err)
	}
	resolver, err := xds.NewXDSResolverWithConfigForTesting(bootstrap)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := grpc.NewClient("xds:///"+name, grpc.WithResolvers(resolver), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return caller{t, healthpb.NewHealthClient(conn)}
}

// call returns which backend answered.
func (c caller) call() (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	var header metadata.MD
	if _, err := c.health.Check(ctx, &healthpb.HealthCheckRequest{}, grpc.Header(&header), grpc.WaitForReady(true)); err != nil {
		return "", err
	}
	if names := header.Get("backend"); len(names) == 1 {
		return names[0], nil
	}
	return "", errors.New("a backend without a name")
}

func (c caller) expect(backend string) {
	c.t.Helper()
	if got, err := c.call(); got != backend || err != nil {
		c.t.Fatalf("answer from %q (%v), want %q", got, err, backend)
	}
}

// until calls until one backend has answered so many times in a row.
func (c caller) until(backend string, row int) {
	c.t.Helper()
	deadline := time.Now().Add(patience)
	for seen := 0; seen < row; {
		got, err := c.call()
		switch {
		case err != nil:
			c.t.Fatal(err)
		case time.Now().After(deadline):
			c.t.Fatalf("not %d answers from %s in a row", row, backend)
		case got == backend:
			seen++
		default:
			seen = 0
		}
	}
}

// measure checks the canary's share of calls, none of which may fail.
func (c caller) measure(weight float64) {
	c.t.Helper()
	var canary, failed atomic.Int64
	var callers sync.WaitGroup
	const parallel = 8
	for range parallel {
		callers.Go(func() {
			for range calls / parallel {
				switch got, err := c.call(); {
				case err != nil:
					failed.Add(1)
				case got == "canary":
					canary.Add(1)
				}
			}
		})
	}
	callers.Wait()
	p := weight / 100
	bound := deviations * math.Sqrt(p*(1-p)/calls)
	share := float64(canary.Load()) / calls
	c.t.Logf("weight %v: share %.4f of %d calls, bound %.4f", weight, share, calls, bound)
	if failed.Load() > 0 || math.Abs(share-p) > bound {
		c.t.Errorf("weight %v: share %.4f, allowed %.4f around %.2f; %d calls failed", weight, share, bound, p, failed.Load())
	}
}
