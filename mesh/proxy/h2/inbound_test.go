package h2_test

import (
	"crypto/tls"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sluice-mesh/sluice/mesh/ir"
	"github.com/sluice-mesh/sluice/mesh/proxy/engine"
)

func TestInbound(t *testing.T) {
	pod := app(t, func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, r.Header.Get("Sluice-Intended")) })
	b := newBench(t, true, pod.Addr(), func(o *engine.Options) { o.Revision = "v1" })
	closed := listen(t, pod.Addr().String()+":0")
	closed.Close()
	nobody := netip.MustParseAddrPort(closed.Addr().String())
	s := service("shop", shopAddress, ir.HTTP2, ir.Split{}, revisions{"v1": {pod}})
	s.Policy.RateLimit = &ir.RateLimit{Requests: 3, Per: time.Hour}
	b.Apply(s)
	c, dead := client(t, b.Door(pod)), client(t, b.Door(nobody))
	ask := func(c *http.Client, intended string) (int, string, string) {
		r, _ := http.NewRequest("GET", "http://shop/", nil)
		if intended != "" {
			r.Header.Set("Sluice-Intended", intended)
		}
		response, err := c.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		body, _ := io.ReadAll(response.Body)
		return response.StatusCode, response.Header.Get("Sluice-Unprocessed"), string(body)
	}
	if code, _, body := ask(c, "demo/shop;v1"); code != 200 || body != "" {
		t.Errorf("for us: %d %q", code, body)
	}
	if code, why, _ := ask(c, "demo/shop;v2"); code != 421 || why != "revision" {
		t.Errorf("for another: %d %q", code, why)
	}
	if code, why, _ := ask(c, ""); code != 200 || why != "" {
		t.Errorf("from outside the mesh: %d %q", code, why)
	}
	if code, why, _ := ask(dead, "demo/shop;v1"); code != 503 || why != "unreachable" {
		t.Errorf("nobody there: %d %q", code, why)
	}
	if code, why, _ := ask(dead, ""); code != 503 || why != "" {
		t.Errorf("nobody there, from outside: %d %q", code, why)
	}
	ask(c, "")
	if code, _, _ := ask(c, ""); code != 429 {
		t.Errorf("beyond the rate: %d", code)
	}
	if a, b := b.Total("source=mesh"), b.Total("source=unknown"); a != 1 || b != 3 {
		t.Errorf("counted %v and %v", a, b)
	}
}

func TestTLS(t *testing.T) {
	server := httptest.NewUnstartedServer(nil)
	server.StartTLS()
	defer server.Close()
	config := server.TLS.Clone()
	config.NextProtos = []string{"h2"}
	pod := app(t, func(w http.ResponseWriter, r *http.Request) { io.Copy(w, r.Body) })
	b := outbound(t, ir.HTTP2, ir.Split{}, revisions{"v1": {pod}})
	l := tls.NewListener(listen(t, "127.0.0.1:0"), config)
	b.Behind(l, shopAddress)
	transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, ForceAttemptHTTP2: true}
	defer transport.CloseIdleConnections()
	c := &http.Client{Transport: transport, Timeout: 20 * time.Second}
	want := strings.Repeat("0123456789", 300_000)
	var all sync.WaitGroup
	for range 5 {
		all.Go(func() {
			r, err := c.Post("https://"+l.Addr().String()+"/", "text/plain", strings.NewReader(want))
			if err != nil {
				t.Error(err)
				return
			}
			body, err := io.ReadAll(r.Body)
			r.Body.Close()
			if string(body) != want {
				t.Errorf("%d bytes came back: %v", len(body), err)
			}
		})
	}
	all.Wait()
}

func TestStraightToWhatTheMeshDoesNotKnow(t *testing.T) {
	pod := app(t, func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "hello") })
	b := outbound(t, ir.TCP, ir.Split{}, revisions{"v1": {pod}})
	if _, body := get(t, client(t, b.Door(pod)), "/"); body != "hello" {
		t.Errorf("got %q", body)
	}
	if b.Total() > 0 {
		t.Error("counted")
	}
}
