package proxy_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math"
	"net"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sluice-mesh/sluice/mesh/ir"
	"github.com/sluice-mesh/sluice/mesh/proxy"
)

// echo is a TCP server that greets first, then returns what it is sent, and closes when the client has.
func echo(t testing.TB, greeting string) netip.AddrPort {
	l := listen(t, podHost()+":0")
	go func() {
		for {
			conn, err := l.AcceptTCP()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				io.WriteString(conn, greeting)
				io.Copy(conn, conn)
			}()
		}
	}()
	return l.Addr().(*net.TCPAddr).AddrPort()
}

// fullBacklog is an address that answers no connection.
func fullBacklog(t *testing.T) netip.AddrPort {
	var config net.ListenConfig
	l, err := config.Listen(context.Background(), "tcp", podHost()+":0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	raw, err := l.(*net.TCPListener).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	raw.Control(func(fd uintptr) { err = unix.Listen(int(fd), 0) })
	if err != nil {
		t.Fatal(err)
	}
	for range 4 { // until one is not answered
		conn, err := net.DialTimeout("tcp", l.Addr().String(), 100*time.Millisecond)
		if err != nil {
			return l.Addr().(*net.TCPAddr).AddrPort()
		}
		t.Cleanup(func() { conn.Close() })
	}
	t.Skip("this kernel answers beyond a full backlog")
	return netip.AddrPort{}
}

func TestTCPSplitsByConnection(t *testing.T) {
	v1, v2 := echo(t, "v1"), echo(t, "v2")
	b := newBench(t, nil, []netip.AddrPort{cacheAddress}, nil)
	b.apply(service("cache", cacheAddress, ir.TCP, release(1, 30), revisions{"v1": {v1}, "v2": {v2}}))
	const n = 400
	canary := 0
	for range n {
		conn := b.dial(cacheAddress)
		// The server speaks first; the client has said nothing.
		greeting := make([]byte, 2)
		if _, err := io.ReadFull(conn, greeting); err != nil {
			t.Fatal(err)
		}
		if string(greeting) == "v2" {
			canary++
		}
		// Half-close: the answer to what was sent still comes.
		io.WriteString(conn, "question")
		conn.CloseWrite()
		if answer, err := io.ReadAll(conn); err != nil || string(answer) != "question" {
			t.Fatalf("after half-close: %q, %v", answer, err)
		}
		conn.Close()
	}
	// 6.2 standard deviations: a false alarm rate below 1e-9 for an unseeded source.
	if math.Abs(float64(canary)-n*.3) > 6.2*math.Sqrt(n*.3*.7) {
		t.Errorf("%d of %d connections went to the canary of weight 30", canary, n)
	}
	eventually(t, "all connections to count", func() bool { return b.total("protocol=tcp", "code=200") == n })
	if got := b.total("revision=v2", "weight=30", "protocol=tcp", "code=200"); got != float64(canary) {
		t.Errorf("metrics count %v of the canary, want %d", got, canary)
	}
}

func TestTCPLargeBothWays(t *testing.T) {
	b := newBench(t, nil, []netip.AddrPort{cacheAddress}, nil)
	b.apply(service("cache", cacheAddress, "", ir.Split{}, revisions{"v1": {echo(t, "")}}))
	conn := b.dial(cacheAddress)
	sent := bytes.Repeat([]byte("0123456789abcdef"), 1<<18) // 4 MiB
	go func() {
		conn.Write(sent)
		conn.CloseWrite()
	}()
	got, err := io.ReadAll(conn)
	if err != nil || !bytes.Equal(got, sent) {
		t.Errorf("got %d bytes back, %v; want the %d sent", len(got), err, len(sent))
	}
}

func TestTCPDeadEndpoint(t *testing.T) {
	b := newBench(t, nil, []netip.AddrPort{cacheAddress}, nil)
	b.apply(service("cache", cacheAddress, ir.TCP, release(1, 100), revisions{"v1": {echo(t, "")}, "v2": {closedPort(t)}}))
	if !b.refuses(cacheAddress) {
		t.Error("a connection that reached no endpoint ended in order")
	}
	eventually(t, "the connection to count", func() bool { return b.total("revision=v2", "code=0") == 1 })
}

func TestTCPResetByServer(t *testing.T) {
	l := listen(t, podHost()+":0")
	go func() {
		conn, err := l.AcceptTCP()
		if err != nil {
			return
		}
		io.ReadFull(conn, make([]byte, 1))
		conn.SetLinger(0)
		conn.Close()
	}()
	b := newBench(t, nil, []netip.AddrPort{cacheAddress}, nil)
	b.apply(service("cache", cacheAddress, ir.TCP, ir.Split{}, revisions{"v1": {l.Addr().(*net.TCPAddr).AddrPort()}}))
	conn := b.dial(cacheAddress)
	io.WriteString(conn, "x")
	if _, err := io.ReadAll(conn); err == nil {
		t.Error("a reset reached the client as an orderly end")
	}
	eventually(t, "the reset to count", func() bool { return b.total("code=502") == 1 })
}

// A client that goes away by a reset is not the endpoint's failure.
func TestTCPResetByClient(t *testing.T) {
	b := newBench(t, nil, []netip.AddrPort{cacheAddress}, nil)
	b.apply(service("cache", cacheAddress, ir.TCP, ir.Split{}, revisions{"v1": {echo(t, "hello")}}))
	conn := b.dial(cacheAddress)
	io.ReadFull(conn, make([]byte, 5))
	conn.SetLinger(0)
	conn.Close()
	eventually(t, "the connection to count", func() bool { return b.total("code=200") == 1 })
}

// Clients of an HTTP service that speak something else are carried as TCP, through the split.
func TestOtherProtocolsOnAnHTTPService(t *testing.T) {
	v2 := echo(t, "")
	b := newBench(t, nil, nil, nil)
	b.apply(service("shop", shopAddress, ir.HTTP, release(1, 100), revisions{"v1": {echo(t, "")}, "v2": {v2}}))
	for name, words := range map[string]string{
		"TLS":     "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
		"CONNECT": "CONNECT other:443 HTTP/1.1\r\n\r\n",
		"Redis":   "*1\r\n$4\r\nPING\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			conn := b.dial(shopAddress)
			for _, c := range []byte(words) { // in the smallest pieces
				conn.Write([]byte{c})
			}
			conn.CloseWrite()
			if got, err := io.ReadAll(conn); err != nil || string(got) != words {
				t.Errorf("echoed %q, %v; want %q", got, err, words)
			}
		})
	}
	eventually(t, "the connections to count", func() bool { return b.total("revision=v2", "code=200") == 3 })
}

// Before there is a configuration, and for destinations that the mesh does not know, connections go where
// they were going, and nothing is counted as a request.
func TestPassThrough(t *testing.T) {
	elsewhere := echo(t, "hello")
	b := newBench(t, nil, []netip.AddrPort{elsewhere}, []netip.AddrPort{echo(t, "inside")})
	ask := func(dst netip.AddrPort, want string) {
		t.Helper()
		conn := b.dial(dst)
		conn.CloseWrite()
		if got, err := io.ReadAll(conn); err != nil || string(got) != want {
			t.Errorf("%q, %v; want %q", got, err, want)
		}
	}
	ask(elsewhere, "hello")
	b.apply(service("shop", shopAddress, ir.HTTP, ir.Split{}, revisions{"v1": {closedPort(t)}}))
	ask(elsewhere, "hello")
	for dst := range b.doors {
		if dst != elsewhere {
			ask(dst, "inside")
		}
	}
	if got := b.metric("sluice_proxy_passed_connections_total"); got != 2 {
		t.Errorf("passed = %v, want 2", got)
	}
	if got := b.total("protocol=tcp"); got > 0 {
		t.Errorf("%v requests counted", got)
	}
}

// Connections that were drawn to a revision end at the drain deadline after it lost all weight, and not
// before; those of the other revision stay.
func TestOldConnectionsEndAfterWeightZero(t *testing.T) {
	v1, v2 := echo(t, "v1"), echo(t, "v2")
	const drain = 300 * time.Millisecond
	b := newBench(t, func(o *proxy.Options) { o.Drain = drain }, []netip.AddrPort{cacheAddress}, nil)
	ends := revisions{"v1": {v1}, "v2": {v2}}
	open := func(epoch int64, weight uint32) *net.TCPConn {
		b.apply(service("cache", cacheAddress, ir.TCP, release(epoch, weight), ends))
		conn := b.dial(cacheAddress)
		io.ReadFull(conn, make([]byte, 2))
		return conn
	}
	stable := open(1, 0)
	epoch := int64(1)
	var canary *net.TCPConn
	var zero time.Time
	inTime(t, drain, func() error { // it is not cut at once
		canary = open(epoch+1, 100)
		zero = time.Now()
		b.apply(service("cache", cacheAddress, ir.TCP, release(epoch+2, 0), ends))
		epoch += 2
		fmt.Fprint(canary, "x")
		_, err := io.ReadFull(canary, make([]byte, 1))
		return err
	})
	_, err := canary.Read(make([]byte, 1))
	if took := time.Since(zero); err == nil || took < drain {
		t.Errorf("the canary's connection ended after %v with %v, want a cut after %v", took, err, drain)
	}
	fmt.Fprint(stable, "x")
	if _, err := io.ReadFull(stable, make([]byte, 1)); err != nil {
		t.Errorf("stable's connection was cut: %v", err)
	}
}
