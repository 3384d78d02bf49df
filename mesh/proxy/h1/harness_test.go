package h1_test

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"net/netip"
	"testing"

	"go.uber.org/goleak"

	"github.com/sluice-mesh/sluice/mesh/ir"
	"github.com/sluice-mesh/sluice/mesh/proxy/engine"
	"github.com/sluice-mesh/sluice/mesh/proxy/h1"
	"github.com/sluice-mesh/sluice/mesh/proxy/proxytest"
	"github.com/sluice-mesh/sluice/mesh/proxy/table"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	shopAddress = proxytest.ShopAddress
	closedPort  = proxytest.ClosedPort
	eventually  = proxytest.Eventually
	get         = proxytest.Get
	inTime      = proxytest.InTime
	listen      = proxytest.Listen
	podHost     = proxytest.PodHost
	raw         = proxytest.Raw
	readHead    = proxytest.ReadHead
	release     = proxytest.Release
	says        = proxytest.Says
	serve       = proxytest.Serve
)

type revisions = proxytest.Revisions

var engines = proxytest.Factory{
	Kind:     table.HTTP1,
	Inbound:  func(o engine.Options) proxytest.Engine { return h1.NewInbound(o) },
	Outbound: func(o engine.Options) proxytest.Engine { return h1.NewOutbound(o) },
	NewPool:  h1.NewPool,
}

// bench is an engine in one direction under test, with a door.
type bench struct {
	*proxytest.Bench
	t    testing.TB
	door string
}

// outbound runs a caller's engine; calls through its door go to the shop.
func outbound(t testing.TB, change func(*engine.Options)) *bench {
	t.Helper()
	b := proxytest.New(t, engines, false, netip.Addr{}, change)
	return &bench{b, t, b.Door(shopAddress)}
}

// inbound runs a called pod's engine before an application.
func inbound(t testing.TB, app netip.AddrPort, revision string) *bench {
	t.Helper()
	b := proxytest.New(t, engines, true, app.Addr(), func(o *engine.Options) { o.Revision = revision })
	return &bench{b, t, b.Door(app)}
}

// client reaches the service through the engine.
func (b *bench) client() *http.Client { return proxytest.Client(b.t, b.door, nil) }

// dial opens a connection through the engine.
func (b *bench) dial() *net.TCPConn {
	b.t.Helper()
	return proxytest.Dial(b.t, b.door)
}

// say sends bytes on a new connection.
func (b *bench) say(text string) (net.Conn, *bufio.Reader) {
	b.t.Helper()
	conn := b.dial()
	if _, err := io.WriteString(conn, text); err != nil {
		b.t.Fatal(err)
	}
	return conn, bufio.NewReader(conn)
}

// shop makes the service with endpoints by revision.
func shop(split ir.Split, subsets revisions) ir.Service {
	return proxytest.Service("shop", shopAddress, ir.HTTP, split, subsets)
}

// plainShop is the service with one revision.
func plainShop(endpoints ...netip.AddrPort) ir.Service {
	return shop(ir.Split{}, revisions{"v1": endpoints})
}

// chain is a caller's engine before a called pod's engine before an application.
func chain(t testing.TB, app netip.AddrPort) (caller, called *bench) {
	t.Helper()
	called = inbound(t, app, "v1")
	called.Apply(plainShop(app))
	caller = outbound(t, nil)
	caller.Apply(plainShop(netip.MustParseAddrPort(called.door)))
	return caller, called
}
