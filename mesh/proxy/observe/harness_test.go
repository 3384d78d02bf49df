package observe

import (
	"bytes"
	"cmp"
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"github.com/sluice-mesh/sluice/mesh/ir"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// header is a request's header, names in lower case.
type header map[string]string

func (h header) Header(name string) (string, bool) {
	value, found := h[name]
	return value, found
}

const million = ir.Million

var own = Resource{Service: "front", Namespace: "web", Pod: "front-1", Version: "1.2.3"}

// someRecord has something in every field.
func someRecord() *Record {
	return &Record{
		Begun: time.Date(2026, 1, 2, 3, 4, 5, 60_000, time.UTC), Duration: 1500 * time.Microsecond,
		Protocol: "HTTP/1.1", Method: "GET", Path: "/cart?token=secret", Authority: "cart.shop:8080",
		UserAgent: "curl/8", RequestID: "abc",
		Caller: netip.MustParseAddrPort("10.0.0.1:40000"), Endpoint: netip.MustParseAddrPort("10.0.0.2:80"),
		Service: "shop/cart", Revision: "v2", Rule: "HTTPRoute/shop/cart/0",
		Code: 503, GRPC: -1, Tries: 2, RequestBytes: 12, ResponseBytes: 34, Reason: "no endpoint takes requests",
	}
}

// sink is a writer that remembers.
type sink struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (s *sink) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.Write(p)
}

func (s *sink) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.String()
}

// observer makes one that is closed at the end of the test at the latest. Its names of traces and spans count
// up from 1.
func observer(t *testing.T, o Options) (*Observer, *prometheus.Registry) {
	t.Helper()
	registry := prometheus.NewPedanticRegistry()
	o.Registerer, o.Resource, o.Logger = registry, own, cmp.Or(o.Logger, slog.New(slog.DiscardHandler))
	if o.Random == nil {
		var n atomic.Uint64
		o.Random = func() uint64 { return n.Add(1) }
	}
	made := New(o)
	t.Cleanup(func() { made.Close(ended(t)) })
	return made, registry
}

// ended is a context that is over.
func ended(t *testing.T) context.Context {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	return ctx
}

func bounded(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// collector is one that keeps what it is sent. Answer decides, with the number of the message from 1.
type collector struct {
	*httptest.Server
	messages chan []byte
}

func newCollector(t *testing.T, answer func(w http.ResponseWriter, n int)) *collector {
	t.Helper()
	c := &collector{messages: make(chan []byte, 100)}
	var n atomic.Int64
	c.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil || r.Method != http.MethodPost || r.Header.Get("Content-Type") != "application/json" {
			t.Errorf("%s, %s, %v", r.Method, r.Header.Get("Content-Type"), err)
		}
		if answer != nil {
			answer(w, int(n.Add(1)))
		}
		c.messages <- body
	}))
	t.Cleanup(c.Close)
	return c
}

func (c *collector) next(t *testing.T) []byte {
	t.Helper()
	select {
	case message := <-c.messages:
		return message
	case <-time.After(20 * time.Second):
		t.Fatal("nothing was sent")
		return nil
	}
}

func tracing(url string, format ir.TraceFormat, share uint32) ir.Settings {
	return ir.Settings{Tracing: ir.Tracing{Endpoint: url, Format: format, Share: share}}
}

func metric(t *testing.T, registry *prometheus.Registry, name, label string) float64 {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		for _, m := range family.GetMetric() {
			if family.GetName() == name && (label == "" || m.GetLabel()[0].GetValue() == label) {
				return m.GetCounter().GetValue()
			}
		}
	}
	return 0
}
