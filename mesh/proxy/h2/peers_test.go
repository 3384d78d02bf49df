package h2_test

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// raw is a peer on frames, for what real peers do not do.
type raw struct {
	*http2.Framer
	t     testing.TB
	conn  net.Conn
	block bytes.Buffer
	enc   *hpack.Encoder
}

func newRaw(t testing.TB, conn net.Conn) *raw {
	r := &raw{Framer: http2.NewFramer(conn, bufio.NewReaderSize(conn, 32<<10)), t: t, conn: conn}
	r.enc = hpack.NewEncoder(&r.block)
	r.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	conn.SetDeadline(time.Now().Add(20 * time.Second))
	return r
}

// dialRaw connects to a door and begins HTTP/2 with these settings.
func dialRaw(t testing.TB, door string, settings ...http2.Setting) *raw {
	t.Helper()
	conn := dialDoor(t, door)
	r := newRaw(t, conn)
	io.WriteString(conn, http2.ClientPreface)
	r.WriteSettings(settings...)
	return r
}

// encode makes a header block of pairs.
func (r *raw) encode(pairs ...string) []byte {
	r.block.Reset()
	for i := 0; i < len(pairs); i += 2 {
		r.enc.WriteField(hpack.HeaderField{Name: pairs[i], Value: pairs[i+1]})
	}
	return r.block.Bytes()
}

// request opens a stream.
func (r *raw) request(id uint32, end bool, more ...string) {
	pairs := append([]string{":method", "POST", ":scheme", "http", ":path", "/", ":authority", "shop"}, more...)
	r.WriteHeaders(http2.HeadersFrameParam{
		StreamID: id, EndHeaders: true, EndStream: end, BlockFragment: r.encode(pairs...),
	})
}

// until reads frames until one is what is wanted; it acknowledges settings on the way.
func (r *raw) until(what string, want func(http2.Frame) bool) {
	r.t.Helper()
	for {
		f, err := r.ReadFrame()
		if err != nil {
			r.t.Fatalf("waiting for %s: %v", what, err)
		}
		if s, ok := f.(*http2.SettingsFrame); ok && !s.IsAck() {
			r.WriteSettingsAck()
		}
		if want(f) {
			return
		}
	}
}

// rawApp serves each connection by a function, on frames.
func rawApp(t testing.TB, serve func(*raw)) netip.AddrPort {
	return tcpApp(t, func(conn net.Conn) {
		io.ReadFull(conn, make([]byte, len(http2.ClientPreface)))
		r := newRaw(t, conn)
		r.WriteSettings()
		serve(r)
	})
}

// tcpApp serves each connection by a function.
func tcpApp(t testing.TB, serve func(net.Conn)) netip.AddrPort {
	l := listen(t, podHost()+":0")
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				serve(conn)
			}()
		}
	}()
	t.Cleanup(func() { l.Close(); <-done })
	return netip.MustParseAddrPort(l.Addr().String())
}

// nobody is an address at which nothing listens.
func nobody(t testing.TB) netip.AddrPort {
	l := listen(t, podHost()+":0")
	l.Close()
	return netip.MustParseAddrPort(l.Addr().String())
}

func dialDoor(t testing.TB, door string) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", door)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(20 * time.Second))
	return conn
}
