package h1_test

import (
	"bufio"
	"net"
	"testing"
)

const ask = "GET /items/42 HTTP/1.1\r\nHost: shop.demo\r\nUser-Agent: bench\r\nAccept: */*\r\n\r\n"

// still is a server that answers each request that comes in one piece with the same bytes.
func still(answer string) func(net.Conn, *bufio.Reader) {
	return func(c net.Conn, _ *bufio.Reader) {
		b, out := make([]byte, 4096), []byte(answer)
		for {
			if _, err := c.Read(b); err != nil {
				return
			}
			if _, err := c.Write(out); err != nil {
				return
			}
		}
	}
}

const answer34 = "HTTP/1.1 200 OK\r\nServer: nginx\r\nDate: Sat, 21 Nov 2026 19:05:04 GMT\r\nContent-Type: text/plain\r\n" +
	"Content-Length: 34\r\nConnection: keep-alive\r\n\r\n0123456789012345678901234567890123"

// BenchmarkRequest measures one routed request with telemetry, the client's and the server's side included.
func BenchmarkRequest(b *testing.B) {
	e := outbound(b, nil)
	e.Apply(plainShop(raw(b, still(answer34))))
	text := []byte(ask)
	b.ReportAllocs()
	b.SetParallelism(32)
	b.RunParallel(func(p *testing.PB) {
		c := e.dial()
		in := make([]byte, 4096)
		for p.Next() {
			if _, err := c.Write(text); err != nil {
				b.Error(err)
				return
			}
			if _, err := c.Read(in); err != nil {
				b.Error(err)
				return
			}
		}
	})
}

// raceDetector: it drops pooled objects at random.
var raceDetector bool

// A routed request allocates nothing, telemetry included, neither at the caller's side nor at the called pod's.
func TestNoAllocations(t *testing.T) {
	if raceDetector {
		t.Skip("the race detector allocates")
	}
	app := raw(t, still(answer34))
	caller, _ := chain(t, app)
	caller.Apply(plainShop(app))
	through, called := chain(t, raw(t, still(answer34)))
	_ = called
	post := "POST /items HTTP/1.1\r\nHost: shop.demo\r\nContent-Length: 34\r\n\r\n0123456789012345678901234567890123"
	for name, c := range map[string]struct {
		engine *bench
		text   string
	}{"one engine": {caller, ask}, "two engines": {through, ask}, "with a body": {through, post}} {
		conn, in, text := c.engine.dial(), make([]byte, 4096), []byte(c.text)
		allocs := testing.AllocsPerRun(2000, func() {
			if _, err := conn.Write(text); err != nil {
				t.Fatal(err)
			}
			if _, err := conn.Read(in); err != nil {
				t.Fatal(err)
			}
		})
		if allocs != 0 {
			t.Errorf("%s: %v allocations a request, want 0", name, allocs)
		}
	}
}

// BenchmarkRelay is the same with nothing but a relay between, to compare with.
func BenchmarkRelay(b *testing.B) {
	app := raw(b, still(answer34))
	l := listen(b, "127.0.0.1:0")
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				u, err := net.Dial("tcp", app.String())
				if err != nil {
					return
				}
				defer u.Close()
				buffer := make([]byte, 4096)
				for {
					n, err := c.Read(buffer)
					if err != nil {
						return
					}
					u.Write(buffer[:n])
					if n, err = u.Read(buffer); err != nil {
						return
					}
					c.Write(buffer[:n])
				}
			}()
		}
	}()
	text := []byte(ask)
	b.ReportAllocs()
	b.SetParallelism(32)
	b.RunParallel(func(p *testing.PB) {
		c, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			b.Error(err)
			return
		}
		defer c.Close()
		in := make([]byte, 4096)
		for p.Next() {
			if _, err := c.Write(text); err != nil {
				b.Error(err)
				return
			}
			if _, err := c.Read(in); err != nil {
				b.Error(err)
				return
			}
		}
	})
}
