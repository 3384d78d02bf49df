package proxy_test

import (
	"context"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/sluice-mesh/sluice/mesh/ir"
	"github.com/sluice-mesh/sluice/mesh/proxy"
)

// BenchmarkHop compares a kept HTTP connection straight to an application with one through the proxy.
// Client, proxy and application share the process, so the difference is the hop's whole cost.
func BenchmarkHop(b *testing.B) {
	answer := strings.Repeat("k", 1024)
	app := serve(b, func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		io.WriteString(w, answer)
	})
	proxied := newBench(b, func(o *proxy.Options) { o.Random = rand.Uint32N }, nil, nil)
	proxied.apply(service("shop", shopAddress, ir.HTTP, release(1, 50), revisions{"v1": {app}}))
	for _, c := range []struct{ name, door string }{{"direct", app.String()}, {"proxy", proxied.doors[shopAddress]}} {
		b.Run(c.name, func(b *testing.B) {
			client := &http.Client{Transport: &http.Transport{
				MaxIdleConnsPerHost: 64,
				DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
					var d net.Dialer
					return d.DialContext(ctx, "tcp", c.door)
				},
			}}
			defer client.CloseIdleConnections()
			b.ReportAllocs()
			b.SetParallelism(8)
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					response, err := client.Get("http://shop.demo/")
					if err != nil {
						b.Error(err)
						return
					}
					io.Copy(io.Discard, response.Body)
					response.Body.Close()
				}
			})
		})
	}
}

// BenchmarkTCPRelay carries 64 KiB pieces to an echo and back.
func BenchmarkTCPRelay(b *testing.B) {
	proxied := newBench(b, nil, nil, nil)
	proxied.apply(service("shop", shopAddress, ir.TCP, ir.Split{}, revisions{"v1": {echo(b, "")}}))
	conn := proxied.dial(shopAddress)
	piece := make([]byte, 64<<10)
	b.SetBytes(int64(len(piece)))
	go func() {
		for range b.N {
			if _, err := conn.Write(piece); err != nil {
				return
			}
		}
		conn.CloseWrite()
	}()
	if _, err := io.Copy(io.Discard, conn); err != nil {
		b.Fatal(err)
	}
}
