package observe

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/sluice-mesh/sluice/mesh/ir"
)

func TestLine(t *testing.T) {
	r := someRecord()
	r.Path, r.GRPC = `/a"b\`+"\n\t\x01\xff é", 14
	span := &Span{trace: traceID{15: 7}}
	want := `{"time":"2026-01-02T03:04:05.00006Z","duration":0.0015,"direction":"outbound","protocol":"HTTP/1.1",` +
		`"method":"GET","path":"/a\"b\\\n\t\u0001\ufffd é","authority":"cart.shop:8080","user_agent":"curl/8",` +
		`"request_id":"abc","trace_id":"00000000000000000000000000000007","caller":"10.0.0.1:40000",` +
		`"endpoint":"10.0.0.2:80","service":"shop/cart","revision":"v2","rule":"HTTPRoute/shop/cart/0","code":503,` +
		`"grpc_status":14,"tries":2,"request_bytes":12,"response_bytes":34,"reason":"no endpoint takes requests"}` + "\n"
	if diff := cmp.Diff(want, string(appendLine(nil, span, r))); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	least := &Record{Inbound: true, GRPC: -1, Code: 200, Begun: time.Unix(0, 0)}
	want = `{"time":"1970-01-01T00:00:00Z","duration":0,"direction":"inbound","code":200,"tries":0,"request_bytes":0,"response_bytes":0}` + "\n"
	if diff := cmp.Diff(want, string(appendLine(nil, nil, least))); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// FuzzText: any bytes become what encoding/json makes of them.
func FuzzText(f *testing.F) {
	for _, seed := range []string{"", "a", `"\`, "\x00\x1f\x7f", "é\xff\u2028", "\xed\xa0\x80", "\xf0\x9f\x98\x80", "\xf0\x9f"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if len(text) > maxText {
			text = text[:maxText]
		}
		theirs, err := json.Marshal(text)
		if err != nil {
			t.Fatal(err)
		}
		var want, got string
		if err := json.Unmarshal(theirs, &want); err != nil {
			t.Fatal(err)
		}
		ours := appendText(nil, text)
		if err := json.Unmarshal(ours, &got); err != nil || got != want {
			t.Fatalf("%q became %s, which is %q, %v; want %q", text, ours, got, err, want)
		}
	})
}

// FuzzLine: every line is one line, and valid JSON.
func FuzzLine(f *testing.F) {
	f.Add("GET", "/", "shop", "agent", "reason", 200, int64(5))
	f.Fuzz(func(t *testing.T, method, path, authority, agent, reason string, code int, n int64) {
		r := &Record{
			Begun: time.Unix(0, n), Duration: time.Duration(n), Method: method, Path: path, Authority: authority,
			UserAgent: agent, Reason: reason, Code: code, GRPC: code, ResponseBytes: n,
		}
		line := appendLine(nil, nil, r)
		if !json.Valid(line) || strings.Count(string(line), "\n") != 1 {
			t.Fatalf("%s", line)
		}
		for _, span := range [][]byte{appendOTLP(nil, &Span{}, r), appendZipkin(nil, own, &Span{}, r)} {
			if !json.Valid(span) {
				t.Fatalf("%s", span)
			}
		}
	})
}

func TestLongTextsAreCut(t *testing.T) {
	r := someRecord()
	r.Path = strings.Repeat("a", maxText) + "b"
	if line := string(appendLine(nil, nil, r)); !strings.Contains(line, `a","authority"`) {
		t.Errorf("not cut: %s", line)
	}
}

func TestWhatIsLogged(t *testing.T) {
	ok := func(r *Record) { r.Code = 200 }
	for name, c := range map[string]struct {
		settings ir.AccessLog
		change   func(*Record)
		want     bool
	}{
		"all":                          {ir.AccessLog{Share: million}, ok, true},
		"errors, and it is none":       {ir.AccessLog{Errors: true}, ok, false},
		"errors: 503":                  {ir.AccessLog{Errors: true}, func(*Record) {}, true},
		"errors: unreached":            {ir.AccessLog{Errors: true}, func(r *Record) { r.Code = 0 }, true},
		"errors: 404 is none":          {ir.AccessLog{Errors: true}, func(r *Record) { r.Code = 404 }, false},
		"errors: gRPC":                 {ir.AccessLog{Errors: true}, func(r *Record) { r.Code, r.GRPC = 200, 5 }, true},
		"errors: gRPC's OK is none":    {ir.AccessLog{Errors: true}, func(r *Record) { r.Code, r.GRPC = 200, 0 }, false},
		"slow":                         {ir.AccessLog{Slow: 1500 * time.Microsecond}, ok, true},
		"not slow":                     {ir.AccessLog{Slow: 1501 * time.Microsecond}, ok, false},
		"an error, but nobody asked":   {ir.AccessLog{Slow: time.Hour}, func(*Record) {}, false},
		"nothing asked for":            {ir.AccessLog{}, func(*Record) {}, false},
		"an error in spite of no luck": {ir.AccessLog{Share: 1, Errors: true}, func(*Record) {}, true},
	} {
		t.Run(name, func(t *testing.T) {
			var out sink
			o, _ := observer(t, Options{Writer: &out, Random: func() uint64 { return 2 }})
			o.Configure(ir.Settings{AccessLog: c.settings})
			r := someRecord()
			c.change(r)
			if wants := o.Wants(nil, r.Code, r.GRPC, r.Duration); c.want && !wants || wants && !c.want && c.settings.Share == 0 {
				t.Errorf("wanted: %v", wants)
			}
			o.End(nil, r)
			o.Close(bounded(t))
			if got := out.String() != ""; got != c.want {
				t.Errorf("logged %q, want %v", out.String(), c.want)
			}
		})
	}
}

func TestSharesAreDrawn(t *testing.T) {
	n, drawn := uint64(0), 0
	o, _ := observer(t, Options{Random: func() uint64 {
		n++
		return n
	}})
	for range million {
		if o.draw(250_000) {
			drawn++
		}
	}
	if drawn != 250_000 {
		t.Errorf("drawn %d of a million", drawn)
	}
}

// blocked is a writer that waits for release.
type blocked struct {
	sink
	begun, release chan struct{}
	once           sync.Once
}

func (b *blocked) Write(p []byte) (int, error) {
	b.once.Do(func() { close(b.begun) })
	<-b.release
	return b.sink.Write(p)
}

// TestASlowWriterHoldsUpNothing: what has no room is dropped and counted, all else is written.
func TestASlowWriterHoldsUpNothing(t *testing.T) {
	out := &blocked{begun: make(chan struct{}), release: make(chan struct{})}
	o, registry := observer(t, Options{Writer: out})
	o.Configure(ir.Settings{AccessLog: ir.AccessLog{Share: million}})
	const n = 5000
	o.End(nil, someRecord())
	<-out.begun
	for range n - 1 {
		o.End(nil, someRecord())
	}
	close(out.release)
	o.Close(bounded(t))
	lines := strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
	lost := metric(t, registry, "sluice_proxy_access_log_lines_dropped_total", "")
	if lost == 0 || len(lines)+int(lost) != n {
		t.Errorf("%d lines written, %v lost, want %d in all and some lost", len(lines), lost, n)
	}
	for _, line := range lines {
		if !json.Valid([]byte(line)) {
			t.Fatalf("half a line: %s", line)
		}
	}
}

func TestCloseDoesNotWaitForABlockedWriter(t *testing.T) {
	out := &blocked{begun: make(chan struct{}), release: make(chan struct{})}
	o, _ := observer(t, Options{Writer: out})
	o.Configure(ir.Settings{AccessLog: ir.AccessLog{Share: million}})
	o.End(nil, someRecord())
	<-out.begun
	o.Close(ended(t))
	close(out.release)
	<-o.spool.done
}

type broken struct{}

func (broken) Write([]byte) (int, error) { return 0, errors.New("broken pipe") }

func TestABrokenWriterIsCounted(t *testing.T) {
	o, registry := observer(t, Options{Writer: broken{}})
	o.Configure(ir.Settings{AccessLog: ir.AccessLog{Share: million}})
	for range 3 {
		o.End(nil, someRecord())
	}
	o.Close(bounded(t))
	if lost := metric(t, registry, "sluice_proxy_access_log_lines_dropped_total", ""); lost != 3 {
		t.Errorf("%v lost, want 3", lost)
	}
}

// TestManyAtOnce: lines of requests that end at the same time do not mix.
func TestManyAtOnce(t *testing.T) {
	var out sink
	o, registry := observer(t, Options{Writer: &out})
	o.Configure(ir.Settings{AccessLog: ir.AccessLog{Share: million}})
	var ending sync.WaitGroup
	for w := range 4 {
		ending.Go(func() {
			for i := range 200 {
				r := someRecord()
				r.RequestID = fmt.Sprint(w, "/", i)
				o.End(nil, r)
			}
		})
	}
	ending.Wait()
	o.Close(bounded(t))
	seen := map[string]bool{}
	for line := range strings.Lines(out.String()) {
		var read struct {
			ID string `json:"request_id"`
		}
		if err := json.Unmarshal([]byte(line), &read); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		seen[read.ID] = true
	}
	lost := int(metric(t, registry, "sluice_proxy_access_log_lines_dropped_total", ""))
	if len(seen)+lost != 800 {
		t.Errorf("%d lines and %d lost, want 800", len(seen), lost)
	}
}

func TestNothingAskedFor(t *testing.T) {
	var none *Observer
	none.Configure(ir.Settings{})
	wants := func(o *Observer) bool { return o.Wants(&Span{}, 503, -1, time.Hour) }
	if none.Begin(header{}) != nil || wants(none) {
		t.Error("a nil observer observes")
	}
	none.End(nil, someRecord())
	none.Close(context.Background())

	o, _ := observer(t, Options{Writer: &sink{}})
	r := someRecord()
	came := header{"traceparent": "00-" + trace128 + "-" + parent64 + "-01"}
	if n := testing.AllocsPerRun(100, func() {
		o.End(o.Begin(came), r)
	}); n != 0 || wants(o) {
		t.Errorf("%v allocations, wanted: %v", n, wants(o))
	}
	o.Configure(ir.Settings{AccessLog: ir.AccessLog{Errors: true}})
	if !wants(o) {
		t.Error("an error is not wanted")
	}
	o.Configure(ir.Settings{})
	if wants(o) {
		t.Error("still wanted")
	}
	o.Close(ended(t))
	o.Configure(ir.Settings{AccessLog: ir.AccessLog{Errors: true}})
	o.End(nil, r)
	o.Close(ended(t))
	if wants(o) {
		t.Error("wanted after it was closed")
	}
}

// TestLineFields holds the line to the page about it.
func TestLineFields(t *testing.T) {
	r := someRecord()
	r.GRPC = 0
	var read map[string]any
	if err := json.Unmarshal(appendLine(nil, &Span{}, r), &read); err != nil {
		t.Fatal(err)
	}
	want := []string{
		"authority", "caller", "code", "direction", "duration", "endpoint", "grpc_status", "method", "path", "protocol",
		"reason", "request_bytes", "request_id", "response_bytes", "revision", "rule", "service", "time", "trace_id",
		"tries", "user_agent",
	}
	if diff := cmp.Diff(want, slices.Sorted(maps.Keys(read))); diff != "" {
		t.Errorf("fields (-want +got):\n%s", diff)
	}
	page, err := os.ReadFile("../../../docs/observe.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, field := range want {
		if !strings.Contains(string(page), "`"+field+"`") {
			t.Errorf("the page does not explain %s", field)
		}
	}
}

func BenchmarkNotLogged(b *testing.B) {
	o, r := New(Options{Registerer: prometheus.NewRegistry(), Writer: &sink{}}), someRecord()
	o.Configure(ir.Settings{AccessLog: ir.AccessLog{Errors: true}})
	defer o.Close(b.Context())
	r.Code = 200
	for b.Loop() {
		if o.Wants(nil, r.Code, r.GRPC, r.Duration) {
			o.End(nil, r)
		}
	}
}

func BenchmarkLine(b *testing.B) {
	r, dst := someRecord(), []byte(nil)
	r.Caller = netip.MustParseAddrPort("10.0.0.1:1234")
	for b.Loop() {
		dst = appendLine(dst[:0], nil, r)
	}
}
