package h1_test

import (
	"bufio"
	"io"
	"net"
	"testing"
)

const ask = "GET /items/42 HTTP/1.1\r\nHost: shop.demo\r\nUser-Agent: bench\r\nAccept: */*\r\n\r\n"

// still is a server that answers each request that comes in one piece with the same bytes.
func still(t testing.TB, answer string) func(net.Conn, *bufio.Reader) {
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
	e.apply(plainShop(raw(b, still(b, answer34))))
	b.ReportAllocs()
	b.SetParallelism(32)
	b.RunParallel(func(p *testing.PB) {
		c := e.dial()
		in := make([]byte, 4096)
		for p.Next() {
			if _, err := io.WriteString(c, ask); err != nil {
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
