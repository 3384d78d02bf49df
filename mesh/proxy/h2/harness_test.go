package h2_test

import (
	"net/http"
	"net/netip"
	"testing"

	"go.uber.org/goleak"

	"github.com/sluice-mesh/sluice/mesh/ir"
	"github.com/sluice-mesh/sluice/mesh/proxy/engine"
	"github.com/sluice-mesh/sluice/mesh/proxy/h2"
	"github.com/sluice-mesh/sluice/mesh/proxy/proxytest"
	"github.com/sluice-mesh/sluice/mesh/proxy/table"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	shopAddress = proxytest.ShopAddress
	eventually  = proxytest.Eventually
	listen      = proxytest.Listen
	podHost     = proxytest.PodHost
	release     = proxytest.Release
	service     = proxytest.Service
)

type (
	bench     = proxytest.Bench
	revisions = proxytest.Revisions
)

var engines = proxytest.Factory{
	Kind:     table.HTTP2,
	Inbound:  func(o engine.Options) proxytest.Engine { return h2.NewInbound(o) },
	Outbound: func(o engine.Options) proxytest.Engine { return h2.NewOutbound(o) },
	NewPool:  h2.NewPool,
}

func newBench(t testing.TB, inbound bool, self netip.Addr, change func(*engine.Options)) *bench {
	t.Helper()
	return proxytest.New(t, engines, inbound, self, change)
}

// outbound is an engine of the caller's side with one service of these endpoints by revision.
func outbound(t testing.TB, protocol ir.Protocol, split ir.Split, subsets revisions) *bench {
	t.Helper()
	b := newBench(t, false, netip.Addr{}, nil)
	b.Apply(service("shop", shopAddress, protocol, split, subsets))
	return b
}

// client speaks HTTP/2 with prior knowledge to a door.
func client(t testing.TB, door string) *http.Client {
	var protocols http.Protocols
	protocols.SetUnencryptedHTTP2(true)
	return proxytest.Client(t, door, &protocols)
}

// app serves HTTP/2 in cleartext.
func app(t testing.TB, handler http.HandlerFunc) netip.AddrPort {
	t.Helper()
	var protocols http.Protocols
	protocols.SetUnencryptedHTTP2(true)
	s := &http.Server{Handler: handler, Protocols: &protocols}
	l := listen(t, podHost()+":0")
	done := make(chan struct{})
	go func() { defer close(done); _ = s.Serve(l) }()
	t.Cleanup(func() { s.Close(); <-done })
	return netip.MustParseAddrPort(l.Addr().String())
}
