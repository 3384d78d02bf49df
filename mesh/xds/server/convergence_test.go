package server_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/google/go-cmp/cmp"

	"github.com/sluice-mesh/sluice/mesh/ir"
	"github.com/sluice-mesh/sluice/mesh/xds"
	"github.com/sluice-mesh/sluice/mesh/xds/part"
	"github.com/sluice-mesh/sluice/mesh/xds/server"
)

// Our own client acknowledges what is in force: not before its consumer has applied it, and not at all
// what the consumer refuses.
func TestAcknowledgedIsInForce(t *testing.T) {
	s := newServer("a")
	publish(t, s, echo(10, 1))
	address, _ := start(t, s)
	entered, release := make(chan struct{}, 10), make(chan struct{})
	run(t, address, "p1.default", &proxy{verdict: func(mesh ir.Mesh) error {
		switch mesh.Services[0].Split.Epoch {
		case 2:
			entered <- struct{}{}
			<-release
		case 3:
			return errors.New("epoch 3 is not to my taste")
		}
		return nil
	}})
	await(t, s, ask(1), converged("p1.default"))
	publish(t, s, echo(20, 2))
	<-entered
	if state := s.Convergence(ask(2)); state.Live() || !slices.Equal(state.Waiting, []string{"p1.default"}) {
		t.Errorf("while it is being applied: %+v", state)
	}
	close(release)
	await(t, s, ask(2), converged("p1.default"))
	publish(t, s, echo(30, 3))
	state := await(t, s, ask(3), func(state server.State) bool { return len(state.Rejected) > 0 })
	if diff := cmp.Diff(map[string]string{"p1.default": "epoch 3 is not to my taste"}, state.Rejected); diff != "" {
		t.Errorf("rejections (-want +got):\n%s", diff)
	}
	publish(t, s, echo(0, 4))
	await(t, s, ask(4), converged("p1.default"))
}

// Once in force, a decision stays so through changes of endpoints; clients that join make it wait for
// them, and leave without a trace.
func TestLatchAndJoin(t *testing.T) {
	s := newServer("a")
	publish(t, s, echo(10, 1))
	address, _ := start(t, s)
	w := connect(t, address, "p1.default")
	w.everything()
	await(t, s, ask(1), converged("p1.default"))
	scaled := echo(10, 1)
	scaled.Subsets[0].Endpoints = append(scaled.Subsets[0].Endpoints, pod("", "127.0.0.3", 9003).Endpoints...)
	publish(t, s, scaled)
	if state := s.Convergence(ask(1)); !state.Live() {
		t.Errorf("with a new endpoint on its way: %+v", state)
	}
	w.ack(w.next(xds.EndpointType))

	joined := connect(t, address, "p2.default")
	joined.subscribe(xds.RouteType, "*")
	await(t, s, ask(1), func(state server.State) bool { return slices.Equal(state.Waiting, []string{"p2.default"}) })
	if err := joined.stream.CloseSend(); err != nil {
		t.Fatal(err)
	}
	await(t, s, ask(1), converged("p1.default"))
}

// A weight that is clamped for want of endpoints is not in force, even with weight 0: removing the
// canary's pods then would leave nobody.
func TestClampedIsNotLive(t *testing.T) {
	s := newServer("a")
	lost := echo(0, 1)
	lost.Subsets = lost.Subsets[1:]
	publish(t, s, split(lost, 0, 1))
	if state := s.Convergence(ask(1)); state.Live() || !slices.Equal(state.Clamped, []string{"a"}) {
		t.Errorf("state: %+v", state)
	}
	publish(t, s, echo(0, 1))
	if state := s.Convergence(ask(1)); !state.Live() {
		t.Errorf("with stable back: %+v", state)
	}
}

func TestAskedForSomethingElse(t *testing.T) {
	s := newServer("a")
	publish(t, s, echo(10, 5))
	address, _ := start(t, s)
	run(t, address, "p1.default", &proxy{})
	await(t, s, ask(5), converged("p1.default"))
	if state := s.Convergence(ask(4)); !state.Live() {
		t.Errorf("an older epoch: %+v", state)
	}
	cases := map[string]server.Query{
		"a newer epoch":   ask(6),
		"another owner":   {Namespace: "default", Service: "echo", Owner: "u2", Epoch: 1},
		"another service": {Namespace: "default", Service: "nope", Owner: "u1", Epoch: 1},
	}
	for name, query := range cases {
		if state := s.Convergence(query); state.Live() || !slices.Equal(state.Lagging, []string{"a"}) {
			t.Errorf("%s: %+v", name, state)
		}
	}
}

// peers serves a server's acknowledgements and returns where.
func peers(t *testing.T, s *server.Server) string {
	t.Helper()
	web := httptest.NewServer(s.Handler())
	t.Cleanup(func() {
		web.CloseClientConnections()
		web.Close()
	})
	return web.URL
}

func follow(t *testing.T, s *server.Server, replica, url string) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := s.Follow(ctx, replica, url); !errors.Is(err, context.Canceled) {
			t.Errorf("Follow: %v", err)
		}
	}()
	stop = sync.OnceFunc(func() {
		cancel()
		<-done
	})
	t.Cleanup(stop)
	return stop
}

// Live means every replica that serves, and the clients of all of them.
func TestTwoReplicas(t *testing.T) {
	leader, other := newServer("a"), newServer("b")
	publish(t, leader, echo(10, 1))
	leaderAddress, _ := start(t, leader)
	stop := follow(t, leader, "b", peers(t, other))
	// The other one serves nobody yet: it does not count.
	run(t, leaderAddress, "p1.default", &proxy{})
	await(t, leader, ask(1), converged("p1.default"))

	publish(t, other, echo(0, 0))
	otherAddress, _ := start(t, other)
	await(t, leader, ask(1), func(state server.State) bool { return slices.Equal(state.Lagging, []string{"b"}) })
	stopClient := run(t, otherAddress, "p2.default", &proxy{})
	state := await(t, leader, ask(1), func(state server.State) bool { return len(state.Waiting) > 0 })
	if diff := cmp.Diff(server.State{Converged: []string{"p1.default"}, Waiting: []string{"p2.default"}, Lagging: []string{"b"}, Rejected: map[string]string{}}, state); diff != "" {
		t.Errorf("state (-want +got):\n%s", diff)
	}
	publish(t, other, echo(10, 1))
	await(t, leader, ask(1), converged("p1.default", "p2.default"))

	publish(t, leader, echo(20, 2))
	await(t, leader, ask(2), func(state server.State) bool {
		return slices.Equal(state.Converged, []string{"p1.default"}) && slices.Equal(state.Waiting, []string{"p2.default"}) && slices.Equal(state.Lagging, []string{"b"})
	})
	publish(t, other, echo(20, 2))
	await(t, leader, ask(2), converged("p1.default", "p2.default"))

	stopClient()
	await(t, leader, ask(2), converged("p1.default"))
	stop()
	await(t, leader, ask(3), func(state server.State) bool { return slices.Equal(state.Lagging, []string{"a"}) })
}

// Who sends requests to a service by a route that is being taken away goes by what it has until it has
// acknowledged that: its decision counts as long.
func TestRouteGoesAway(t *testing.T) {
	s := newServer("a")
	front := func(backends ...string) ir.Service {
		return routed(virtual(headless("front", "10.0.0.1"), "10.96.0.1"), backends...)
	}
	publish(t, s, front("default/echo"), echo(10, 1))
	address, _ := start(t, s)
	w := sidecar(t, address, "p1.default")
	w.subscribe(part.Type, "to/10.96.0.1")
	w.ack(w.next(part.Type))
	await(t, s, ask(1), converged("p1.default"))
	publish(t, s, front("default/other"), echo(0, 2))
	if state := s.Convergence(ask(2)); !slices.Equal(state.Waiting, []string{"p1.default"}) {
		t.Errorf("while requests go by the old route: %+v", state)
	}
	gone := w.next(part.Type)
	if state := s.Convergence(ask(2)); !slices.Equal(state.Waiting, []string{"p1.default"}) {
		t.Errorf("with the news on its way: %+v", state)
	}
	w.ack(gone)
	await(t, s, ask(2), func(state server.State) bool {
		return state.Live() && slices.Equal(state.Unconcerned, []string{"p1.default"})
	})

	// It comes, and goes before the client has been told of it.
	w.subscribe(part.Type, "to/10.96.0.9")
	last := w.next(part.Type)
	publish(t, s, front("default/echo"), echo(10, 3))
	if state := s.Convergence(ask(3)); !slices.Equal(state.Waiting, []string{"p1.default"}) {
		t.Errorf("a new route: %+v", state)
	}
	publish(t, s, front("default/other"), echo(10, 3))
	w.ack(last)
	await(t, s, ask(3), func(state server.State) bool {
		return state.Live() && slices.Equal(state.Unconcerned, []string{"p1.default"})
	})

	// Asking no more ends it, too.
	publish(t, s, front("default/echo"), echo(10, 3))
	w.ack(w.next(part.Type))
	await(t, s, ask(3), converged("p1.default"))
	publish(t, s, front("default/other"), echo(20, 4))
	w.next(part.Type)
	w.send(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: part.Type, ResourceNamesUnsubscribe: []string{"to/10.96.0.1"}})
	await(t, s, ask(4), func(state server.State) bool {
		return state.Live() && slices.Equal(state.Unconcerned, []string{"p1.default"})
	})
}

// However much a client has to say about a rejection, other replicas hear of it.
func TestLongReasons(t *testing.T) {
	leader, other := newServer("a"), newServer("b")
	publish(t, leader, echo(10, 1))
	start(t, leader)
	publish(t, other, echo(10, 1))
	address, _ := start(t, other)
	follow(t, leader, "b", peers(t, other))
	w := sidecar(t, address, "p1.default")
	w.subscribe(part.Type, toEcho)
	w.nack(w.next(part.Type), strings.Repeat("€ ", 1<<19))
	state := await(t, leader, ask(1), func(state server.State) bool { return len(state.Rejected) > 0 })
	if reason := state.Rejected["p1.default"]; len(reason) > 4<<10 || !strings.HasPrefix(reason, "€ €") || len(state.Lagging) > 0 {
		t.Errorf("%d bytes of a reason, lagging: %v", len(reason), state.Lagging)
	}
}

// A replica that cannot be heard counts as lagging, until it can or is followed no more.
func TestReplicaOutOfReach(t *testing.T) {
	leader, other := newServer("a"), newServer("b")
	publish(t, leader, echo(10, 1))
	publish(t, other, echo(10, 1))
	var gate atomic.Pointer[http.Handler]
	broken := http.Handler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) }))
	gate.Store(&broken)
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { (*gate.Load()).ServeHTTP(w, r) }))
	defer web.Close()
	stop := follow(t, leader, "b", web.URL)
	lagging := func(state server.State) bool { return slices.Equal(state.Lagging, []string{"b"}) }
	await(t, leader, ask(1), lagging)
	handler := other.Handler()
	gate.Store(&handler)
	await(t, leader, ask(1), server.State.Live)
	gate.Store(&broken)
	web.CloseClientConnections()
	await(t, leader, ask(1), lagging)
	// One that connects and says nothing, or nonsense, is no better.
	for _, nonsense := range []string{"what\n", `{"kind":"decision","service":"default/echo","decision":{"owner":"u1","epoch":1}}` + "\n", ""} {
		mute := http.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, _ = fmt.Fprint(w, nonsense)
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done()
		}))
		gate.Store(&mute)
		web.CloseClientConnections()
		if state := leader.Convergence(ask(1)); !lagging(state) {
			t.Errorf("after %q: %+v", nonsense, state)
		}
	}
	// The connection to the last one stands, and is given up.
	gate.Store(&handler)
	await(t, leader, ask(1), server.State.Live)
	// One that falls silent is lost, even though the connection stands.
	silent := http.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = fmt.Fprintln(w, `{"kind":"decision","service":"default/echo","decision":{"owner":"u1","epoch":2}}`)
		_, _ = fmt.Fprintln(w, `{"kind":"alive","serving":true}`)
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	}))
	gate.Store(&silent)
	web.CloseClientConnections()
	publish(t, leader, echo(20, 2))
	await(t, leader, ask(2), server.State.Live)
	gate.Store(&broken)
	await(t, leader, ask(2), lagging)
	stop()
	if state := leader.Convergence(ask(2)); !state.Live() {
		t.Errorf("after it is followed no more: %+v", state)
	}
}

// The same pod on two replicas: what it has acknowledged on one stream it has in force.
func TestClientMovesToAnotherReplica(t *testing.T) {
	leader, other := newServer("a"), newServer("b")
	publish(t, leader, echo(10, 1))
	publish(t, other, echo(10, 1))
	leaderAddress, _ := start(t, leader)
	otherAddress, _ := start(t, other)
	follow(t, leader, "b", peers(t, other))
	moved := connectAs(t, leaderAddress, node("p1.default", "1000"))
	moved.everything()
	await(t, leader, ask(1), converged("p1.default"))
	// The old stream lingers, and says nothing.
	publish(t, leader, echo(20, 2))
	publish(t, other, echo(20, 2))
	again := connectAs(t, otherAddress, node("p1.default", "1000"))
	again.everything()
	await(t, leader, ask(2), converged("p1.default"))
	// A new start of the pod has nothing in force, whatever the old one had.
	restarted := connectAs(t, otherAddress, node("p1.default", "2000"))
	restarted.subscribe(xds.RouteType, "*")
	await(t, leader, ask(2), func(state server.State) bool { return slices.Equal(state.Waiting, []string{"p1.default"}) })
}

// Processes of others may share a node id: all of them must have it.
func TestForeignClientsWithOneName(t *testing.T) {
	s := newServer("a")
	publish(t, s, echo(10, 1))
	address, _ := start(t, s)
	one, two := connectAs(t, address, &corev3.Node{Id: "same"}), connectAs(t, address, &corev3.Node{Id: "same"})
	whole := func(w *wire) {
		for _, typeURL := range []string{xds.ClusterType, xds.EndpointType, xds.RouteType} {
			w.subscribe(typeURL, "*")
			w.ack(w.next(typeURL))
		}
	}
	two.subscribe(xds.RouteType, "*")
	two.next(xds.RouteType)
	whole(one)
	one.nothing()
	if state := s.Convergence(ask(1)); !slices.Equal(state.Waiting, []string{"same"}) {
		t.Errorf("with one of two: %+v", state)
	}
}

// Time from Publish until the last of 20 proxies, with real sockets and our own client, has the weight
// in force.
func BenchmarkPublishToLastAck(b *testing.B) {
	const clients = 20
	s := newServer("a")
	publish(b, s, echo(10, 1))
	address, _ := start(b, s)
	for i := range clients {
		run(b, address, fmt.Sprintf("p%02d.default", i), &proxy{})
	}
	everybody := func(state server.State) bool { return state.Live() && len(state.Converged) == clients }
	await(b, s, ask(1), everybody)
	var took []time.Duration
	epoch := int64(1)
	for b.Loop() {
		epoch++
		start := time.Now()
		publish(b, s, echo(uint32(epoch%100), epoch))
		await(b, s, ask(epoch), everybody)
		took = append(took, time.Since(start))
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, "ms-median")
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds())/1000, "ms-p99")
}

// What a publication costs with 1,000 services when one of them, or none, has changed.
func BenchmarkPublish(b *testing.B) {
	mesh := func(epoch int64) ir.Mesh {
		var mesh ir.Mesh
		for i := range 1000 {
			service := echo(10, 1)
			service.Name, service.Addresses = fmt.Sprintf("s%04d", i), nil
			if i == 500 {
				service = split(service, 10, epoch)
			}
			mesh.Services = append(mesh.Services, service)
		}
		return mesh
	}
	for name, step := range map[string]int64{"unchanged": 0, "one": 1} {
		b.Run(name, func(b *testing.B) {
			s, epoch := newServer("a"), int64(1)
			if err := s.Publish(mesh(epoch)); err != nil {
				b.Fatal(err)
			}
			for b.Loop() {
				b.StopTimer()
				epoch += step
				next := mesh(epoch)
				b.StartTimer()
				if err := s.Publish(next); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
