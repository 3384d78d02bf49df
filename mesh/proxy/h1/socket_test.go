package h1

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sluice-mesh/sluice/mesh/ir"
	"github.com/sluice-mesh/sluice/mesh/proxy/engine"
	"github.com/sluice-mesh/sluice/mesh/proxy/table"
	"github.com/sluice-mesh/sluice/mesh/proxy/telemetry"
)

// pair returns the two ends of a TCP connection.
func pair(t *testing.T) (near, far net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if far, err = net.Dial("tcp", l.Addr().String()); err == nil {
		near, err = l.Accept()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { near.Close(); far.Close() })
	return near, far
}

// Whoever always leaves a little unread, as pipelines do, makes no buffer grow.
func TestBufferDoesNotGrowWithWhatWasUsed(t *testing.T) {
	near, far := pair(t)
	var sending sync.WaitGroup
	const total = 4 << 20
	sending.Go(func() { far.Write(bytes.Repeat([]byte("a"), total)) })
	var s socket
	if err := s.init(near, smallBuffer, 0); err != nil {
		t.Fatal(err)
	}
	for used := 0; used < total-100; {
		if err := s.read(); err != nil {
			t.Fatal(err)
		}
		n := max(len(s.buffered())-100, 0)
		used += n
		s.skip(n)
		if len(s.in.b) > smallBuffer {
			t.Fatalf("the buffer has %d bytes for %d unread", len(s.in.b), len(s.buffered()))
		}
	}
	sending.Wait()
	if !bytes.Equal(s.buffered(), bytes.Repeat([]byte("a"), len(s.buffered()))) {
		t.Error("what was unread has changed")
	}
	s.drop()
}

// Rules have no say in how a message is framed.
func TestRulesLeaveFramingAlone(t *testing.T) {
	names := []string{"content-length", "transfer-encoding", "host", "connection"}
	changes := &ir.HeaderChanges{Remove: append(names, "x-gone")}
	for _, name := range names {
		changes.Set = append(changes.Set, ir.Header{Name: name, Value: "5"})
		changes.Add = append(changes.Add, ir.Header{Name: name, Value: "6"})
	}
	for _, sent := range []string{
		"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nX-Gone: 1\r\n\r\nbody",
		"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nX-Gone: 1\r\n\r\n0\r\n\r\n",
	} {
		x, m := parsed([]byte(sent))
		if m != nil {
			t.Fatal(m)
		}
		x.rule = &table.Rule{RequestHeaders: changes, ResponseHeaders: changes}
		head, _, _ := strings.Cut(sent, "X-Gone")
		if got := string(x.appendRequest(nil, "")); got != head+"\r\n" {
			t.Errorf("forwarded %q", got)
		}
		answer := "HTTP/1.1 200 OK\r\nContent-Length: 4\r\nX-Gone: 1\r\n\r\n"
		if m := x.response.parse([]byte(answer)); m != nil {
			t.Fatal(m)
		}
		if got, _ := x.appendResponse(nil); string(got) != "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n" {
			t.Errorf("answered %q", got)
		}
	}
}

// A connection that was given back just before somebody began to wait is not left lying.
func TestWaitingFindsWhatWasGivenBack(t *testing.T) {
	near, far := pair(t)
	o := engine.Options{
		Now: time.Now, Logger: slog.New(slog.DiscardHandler),
		Dial: func(context.Context, *table.Endpoint, string) (net.Conn, error) { return near, nil },
	}
	compiler := &table.Compiler{Recorder: telemetry.New(prometheus.NewRegistry()), Now: o.Now, Logger: o.Logger}
	compiler.NewPools[table.HTTP1] = NewPool(o)
	service := netip.MustParseAddrPort("10.96.0.1:80")
	compiled, err := compiler.Compile(ir.Mesh{Services: []ir.Service{(ir.Service{
		Namespace: "demo", Name: "shop", Addresses: []netip.Addr{service.Addr()},
		Ports:   []ir.Port{{Name: "main", Number: service.Port(), Protocol: ir.HTTP}},
		Policy:  ir.Policy{Limits: ir.Limits{MaxConnections: 1}},
		Subsets: []ir.Subset{{Name: "v1", Endpoints: []ir.Endpoint{{Address: netip.MustParseAddr("127.0.0.1"), Ports: map[string]uint16{"main": 1}}}}},
	}).Normalise()}}, table.Empty())
	if err != nil {
		t.Fatal(err)
	}
	defer compiled.Close()
	x, _ := parsed([]byte("GET / HTTP/1.1\r\nHost: a\r\n\r\n"))
	x.c.server = &Server{}
	compiled.Outbound(service).Plan(&x.plan, x, rand.Uint32N, time.Now())
	e, err := x.plan.Next(rand.Uint32N, nil, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	defer x.plan.Done(e, table.Succeeded, time.Now())
	p := e.PoolFor(table.HTTP1).(*pool)
	if !p.open() {
		t.Fatal("no connection may be opened")
	}
	u, err := p.dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	p.give(u, time.Now())
	ctx, cancel := context.WithTimeout(t.Context(), time.Second) // the sweeper would come later
	defer cancel()
	got, err := p.wait(ctx)
	if got != u || err != nil {
		t.Fatalf("got %p, %v; want the idle connection", got, err)
	}
	p.give(got, time.Now())
	p.Retire()
	if _, err := far.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("the connection stays open: %v", err)
	}
}
