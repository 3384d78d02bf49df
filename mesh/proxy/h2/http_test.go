package h2_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/netip"
	"net/textproto"
	"strings"
	"sync"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/sluice-mesh/sluice/mesh/ir"
	"github.com/sluice-mesh/sluice/mesh/proxy/engine"
	"github.com/sluice-mesh/sluice/mesh/proxy/observe"
)

func TestCarriesRequests(t *testing.T) {
	pod := app(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		w.Header().Set("X-Seen", r.Method+" "+r.Host+" "+r.RequestURI+" "+r.Header.Get("X-Ask")+r.Trailer.Get("X-End"))
		w.Header().Set("Trailer", "X-Done")
		fmt.Fprintf(w, "got %d", len(body))
		w.Header().Set("X-Done", "yes")
	})
	b := outbound(t, ir.HTTP2, ir.Split{}, revisions{"v1": {pod}})
	c := client(t, b.Door(shopAddress))
	for _, size := range []int{0, 1, 5000, 20_000, 3 << 20} {
		r, _ := http.NewRequest("POST", "http://shop.demo/a/b?c=d", bytes.NewReader(make([]byte, size)))
		r.Header.Set("X-Ask", "this")
		ask := "this"
		if size > 0 { // net/http never ends an empty request with trailers
			r.Trailer, ask = http.Header{"X-End": {"there"}}, "thisthere"
		}
		response, err := c.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(response.Body)
		if err != nil || string(body) != fmt.Sprintf("got %d", size) {
			t.Fatalf("size %d: %q, %v", size, body, err)
		}
		if seen := response.Header.Get("X-Seen"); seen != "POST shop.demo /a/b?c=d "+ask {
			t.Errorf("size %d: the application saw %q", size, seen)
		}
		if response.Trailer.Get("X-Done") != "yes" {
			t.Errorf("size %d: no trailer", size)
		}
	}
	if got := b.Total("code=200", "revision=v1"); got != 5 {
		t.Errorf("%v requests counted, want 5", got)
	}
}

func TestLargeBodiesBothWaysAtOnce(t *testing.T) {
	pod := app(t, func(w http.ResponseWriter, r *http.Request) { io.Copy(w, r.Body) })
	b := outbound(t, ir.HTTP2, ir.Split{}, revisions{"v1": {pod}})
	c := client(t, b.Door(shopAddress))
	want := strings.Repeat("0123456789abcdef", 1<<18) // 4 MiB
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			response, err := c.Post("http://shop/", "text/plain", strings.NewReader(want))
			if err != nil {
				t.Error(err)
				return
			}
			defer response.Body.Close()
			if got, err := io.ReadAll(response.Body); err != nil || string(got) != want {
				t.Errorf("%d bytes of %d came back: %v", len(got), len(want), err)
			}
		})
	}
	all.Wait()
}

func TestInterimResponsesAndHead(t *testing.T) {
	pod := app(t, func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.Method == http.MethodHead:
			w.Header().Set("Content-Length", "12345")
		case r.URL.Path == "/empty":
			w.WriteHeader(http.StatusNoContent)
		default:
			body, _ := io.ReadAll(r.Body) // lets the server say 100
			w.Header().Set("Link", "</style.css>")
			w.WriteHeader(http.StatusEarlyHints)
			w.Write(body)
		}
	})
	b := outbound(t, ir.HTTP2, ir.Split{}, revisions{"v1": {pod}})
	c := client(t, b.Door(shopAddress))
	var interim []int
	trace := &httptrace.ClientTrace{Got1xxResponse: func(code int, h textproto.MIMEHeader) error {
		interim = append(interim, code)
		return nil
	}}
	r, _ := http.NewRequestWithContext(httptrace.WithClientTrace(t.Context(), trace), "POST", "http://shop/", strings.NewReader("hello"))
	r.Header.Set("Expect", "100-continue")
	response, err := c.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	body, _ := io.ReadAll(response.Body)
	response.Body.Close()
	if fmt.Sprint(interim) != "[100 103]" || string(body) != "hello" {
		t.Errorf("interim responses %v, then %q", interim, body)
	}
	response, err = c.Head("http://shop/")
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	if response.ContentLength != 12345 {
		t.Errorf("HEAD: length %d", response.ContentLength)
	}
	if response, _ := get(t, c, "/empty"); response.StatusCode != 204 {
		t.Errorf("got %s", response.Status)
	}
}

// TestFieldsPassAsTheyAre compares what a raw endpoint and a raw caller see with what was sent: order, repeated
// fields, cookies in pieces, and never-indexed ones stay so.
func TestFieldsPassAsTheyAre(t *testing.T) {
	seen := make(chan []hpack.HeaderField, 1)
	pod := rawApp(t, func(r *raw) {
		for {
			f, err := r.ReadFrame()
			if err != nil {
				return
			}
			if h, ok := f.(*http2.MetaHeadersFrame); ok {
				seen <- h.Fields
				r.WriteHeaders(http2.HeadersFrameParam{StreamID: h.StreamID, EndHeaders: true, EndStream: true,
					BlockFragment: r.encode(":status", "299", "set-cookie", "a=1", "x", "", "set-cookie", "b=2")})
			}
		}
	})
	b := newBench(t, true, pod.Addr(), nil)
	r := dialRaw(t, b.Door(pod))
	want := []hpack.HeaderField{
		{Name: ":path", Value: "/?a=%20"}, {Name: ":scheme", Value: "https"}, {Name: ":method", Value: "get"},
		{Name: ":authority", Value: "shop.demo:80"}, {Name: "cookie", Value: "a=1"}, {Name: "x", Value: " y "},
		{Name: "cookie", Value: "b=2"}, {Name: "authorization", Value: "secret", Sensitive: true}, {Name: "te", Value: "trailers"},
		{Name: "x", Value: "\xff"},
	}
	for id := uint32(1); id < 9; id += 2 { // from the table too
		r.block.Reset()
		for _, f := range want {
			r.enc.WriteField(f)
		}
		r.WriteHeaders(http2.HeadersFrameParam{StreamID: id, EndHeaders: true, EndStream: true, BlockFragment: r.block.Bytes()})
		if got := <-seen; fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("the endpoint got\n%v, want\n%v", got, want)
		}
		r.until("the response", func(f http2.Frame) bool {
			h, ok := f.(*http2.MetaHeadersFrame)
			if ok && fmt.Sprint(h.Fields) != `[header field ":status" = "299" header field "set-cookie" = "a=1" header field "x" = "" header field "set-cookie" = "b=2"]` {
				t.Errorf("the caller got %v", h.Fields)
			}
			return ok
		})
	}
}

func TestAccessLogAndTrace(t *testing.T) {
	var traces []string
	pod := app(t, func(_ http.ResponseWriter, r *http.Request) { traces = r.Header["Traceparent"] })
	collector := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer collector.Close()
	var log bytes.Buffer
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	observer := observe.New(observe.Options{
		Writer: &log, Registerer: prometheus.NewRegistry(), Client: &http.Client{Transport: transport},
	})
	observer.Configure(ir.Settings{
		AccessLog: ir.AccessLog{Share: ir.Million}, Tracing: ir.Tracing{Endpoint: collector.URL, Share: ir.Million},
	})
	b := newBench(t, false, netip.Addr{}, func(o *engine.Options) { o.Observer = observer })
	b.Apply(service("shop", shopAddress, ir.HTTP2, ir.Split{}, revisions{"v1": {pod}}))
	get(t, client(t, b.Door(shopAddress)), "/x?y=z")
	eventually(t, "the request is over", func() bool { return b.Active() == 0 })
	observer.Close(t.Context())
	if len(traces) != 1 || !strings.HasPrefix(traces[0], "00-") {
		t.Errorf("trace fields %v", traces)
	}
	for _, want := range []string{`"GET"`, `"/x"`, `"demo/shop"`, `"v1"`, `200`, `HTTP/2`, pod.String()} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("no %s in %s", want, log.String())
		}
	}
}
