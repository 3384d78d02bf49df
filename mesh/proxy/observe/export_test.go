package observe

import (
	"encoding/json"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/openzipkin/zipkin-go/model"

	"github.com/sluice-mesh/sluice/mesh/ir"
)

// request is one that is traced from its beginning to its end.
func request(o *Observer) { o.End(o.Begin(header{}), someRecord()) }

// TestSpansReachTheCollector without anybody asking for it.
func TestSpansReachTheCollector(t *testing.T) {
	t.Parallel()
	c := newCollector(t, nil)
	o, registry := observer(t, Options{})
	o.Configure(tracing(c.URL, ir.OTLP, million))
	request(o)
	request(o)
	spans := otlpSpans(t, c.next(t))
	if len(spans) == 1 {
		spans = append(spans, otlpSpans(t, c.next(t))...)
	}
	if len(spans) != 2 || string(spans[0].GetTraceId()) == string(spans[1].GetTraceId()) {
		t.Errorf("got %v", spans)
	}
	o.Close(bounded(t))
	if sent := metric(t, registry, "sluice_proxy_spans_sent_total", ""); sent != 2 {
		t.Errorf("%v sent, want 2", sent)
	}
}

func TestCloseSendsWhatIsWaiting(t *testing.T) {
	c := newCollector(t, nil)
	o, _ := observer(t, Options{})
	o.Configure(tracing(c.URL, ir.Zipkin, million))
	request(o)
	o.Close(bounded(t))
	var read []model.SpanModel
	if err := json.Unmarshal(c.next(t), &read); err != nil || len(read) != 1 {
		t.Errorf("%v, %v", read, err)
	}
}

// TestAnotherCollector: each gets the spans of its time, in its form.
func TestAnotherCollector(t *testing.T) {
	first, second := newCollector(t, nil), newCollector(t, nil)
	o, _ := observer(t, Options{})
	o.Configure(tracing(first.URL, ir.Zipkin, million))
	request(o)
	before := o.exporter
	o.Configure(tracing(first.URL, ir.Zipkin, million/2))
	if o.exporter != before {
		t.Error("another share began a new exporter")
	}
	o.Configure(tracing(second.URL, ir.OTLP, million))
	span := o.Begin(header{})
	o.Configure(ir.Settings{})
	o.End(span, someRecord()) // nobody wants it any more
	o.Configure(tracing(second.URL, ir.OTLP, million))
	request(o)
	o.Close(bounded(t))
	var read []model.SpanModel
	if err := json.Unmarshal(first.next(t), &read); err != nil || len(read) != 1 {
		t.Errorf("%v, %v", read, err)
	}
	if spans := otlpSpans(t, second.next(t)); len(spans) != 1 {
		t.Errorf("%d spans", len(spans))
	}
}

func TestFullBatches(t *testing.T) {
	c := newCollector(t, nil)
	o, registry := observer(t, Options{})
	o.Configure(tracing(c.URL, ir.OTLP, million))
	const n = batchSpans + 1
	for range n {
		request(o)
	}
	got := 0
	for got < n {
		spans := otlpSpans(t, c.next(t))
		if got += len(spans); len(spans) > batchSpans {
			t.Errorf("%d spans at once", len(spans))
		}
	}
	o.Close(bounded(t))
	if sent := metric(t, registry, "sluice_proxy_spans_sent_total", ""); sent != n {
		t.Errorf("%v sent, want %d", sent, n)
	}
}

// TestAnOverloadedCollector is asked again, when it says.
func TestAnOverloadedCollector(t *testing.T) {
	t.Parallel()
	for name, answer := range map[string]func(w http.ResponseWriter){
		"seconds": func(w http.ResponseWriter) { w.Header().Set("Retry-After", "1") },
		"a time":  func(w http.ResponseWriter) { w.Header().Set("Retry-After", "Fri, 02 Jan 2026 03:04:06 GMT") },
		"nothing": func(http.ResponseWriter) {},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newCollector(t, func(w http.ResponseWriter, n int) {
				if n == 1 {
					answer(w)
					w.WriteHeader(http.StatusTooManyRequests)
				}
			})
			o, registry := observer(t, Options{Now: func() time.Time { return time.Date(2026, 1, 2, 3, 4, 5, 999_000_000, time.UTC) }})
			o.Configure(tracing(c.URL, ir.OTLP, million))
			request(o)
			first, second := c.next(t), c.next(t)
			if string(first) != string(second) {
				t.Errorf("another message: %s, %s", first, second)
			}
			o.Close(bounded(t))
			if sent := metric(t, registry, "sluice_proxy_spans_sent_total", ""); sent != 1 {
				t.Errorf("%v sent, want 1", sent)
			}
		})
	}
}

func TestWhatIsDropped(t *testing.T) {
	for name, c := range map[string]struct {
		answer func(w http.ResponseWriter, n int)
		reason string
		sent   float64
	}{
		"a collector of something else": {
			answer: func(w http.ResponseWriter, _ int) { w.WriteHeader(http.StatusNotFound) }, reason: refused,
		},
		"overloaded when we end": {
			answer: func(w http.ResponseWriter, _ int) { w.WriteHeader(http.StatusServiceUnavailable) }, reason: unreachable,
		},
		"in part": {
			answer: func(w http.ResponseWriter, _ int) {
				_, _ = w.Write([]byte(`{"partialSuccess":{"rejectedSpans":"1","errorMessage":"too old"}}`))
			}, reason: refused, sent: 2,
		},
	} {
		t.Run(name, func(t *testing.T) {
			collector := newCollector(t, c.answer)
			o, registry := observer(t, Options{})
			o.Configure(tracing(collector.URL, ir.OTLP, million))
			for range 3 {
				request(o)
			}
			o.Close(bounded(t))
			dropped, sent := metric(t, registry, "sluice_proxy_spans_dropped_total", c.reason), metric(t, registry, "sluice_proxy_spans_sent_total", "")
			if sent != c.sent || dropped+sent != 3 {
				t.Errorf("%v dropped and %v sent, want %v sent of 3", dropped, sent, c.sent)
			}
		})
	}
}

func TestNoCollector(t *testing.T) {
	for _, url := range []string{"http://127.0.0.1:1/v1/traces", "://"} {
		o, registry := observer(t, Options{})
		o.Configure(tracing(url, ir.OTLP, million))
		request(o)
		o.Close(bounded(t))
		if sent := metric(t, registry, "sluice_proxy_spans_sent_total", ""); sent != 0 {
			t.Errorf("%s: %v sent", url, sent)
		}
	}
}

// TestNoSecretIsLogged: a collector's address may have some in it.
func TestNoSecretIsLogged(t *testing.T) {
	var log sink
	o, _ := observer(t, Options{Logger: slog.New(slog.NewTextHandler(&log, nil))})
	o.Configure(tracing("http://me:secret@127.0.0.1:1/v1/traces?key=secret", ir.OTLP, million))
	request(o)
	o.Close(bounded(t))
	if said := log.String(); strings.Contains(said, "secret") || !strings.Contains(said, "127.0.0.1:1/v1/traces") {
		t.Errorf("logged: %s", said)
	}
}

// TestASlowCollectorHoldsUpNothing: what has no room is dropped and counted.
func TestASlowCollectorHoldsUpNothing(t *testing.T) {
	release := make(chan struct{})
	c := newCollector(t, func(http.ResponseWriter, int) { <-release })
	o, registry := observer(t, Options{})
	o.Configure(tracing(c.URL, ir.OTLP, million))
	const n = 10 * batchSpans
	for range n {
		request(o)
	}
	dropped := metric(t, registry, "sluice_proxy_spans_dropped_total", noRoom)
	close(release)
	o.Close(bounded(t))
	if sent := metric(t, registry, "sluice_proxy_spans_sent_total", ""); dropped == 0 || sent+dropped != n {
		t.Errorf("%v sent and %v dropped, want %d in all and some dropped", sent, dropped, n)
	}
}

func TestCloseDoesNotWaitForACollectorThatHangs(t *testing.T) {
	release := make(chan struct{})
	begun := make(chan struct{}, 1)
	c := newCollector(t, func(http.ResponseWriter, int) {
		begun <- struct{}{}
		<-release
	})
	defer close(release)
	o, registry := observer(t, Options{})
	o.Configure(tracing(c.URL, ir.OTLP, million))
	request(o)
	<-begun
	o.Configure(ir.Settings{}) // its exporter is retired
	o.Close(ended(t))
	if dropped := metric(t, registry, "sluice_proxy_spans_dropped_total", unreachable); dropped != 1 {
		t.Errorf("%v dropped, want 1", dropped)
	}
}

// TestSettingsChangeUnderLoad is for the race detector.
func TestSettingsChangeUnderLoad(t *testing.T) {
	c := newCollector(t, nil)
	go func() {
		for range c.messages { // so that nobody waits
		}
	}()
	defer close(c.messages)
	o, _ := observer(t, Options{Writer: &sink{}})
	var load sync.WaitGroup
	done, progress := make(chan struct{}), make(chan struct{})
	for range 3 {
		load.Go(func() {
			for {
				select {
				case <-done:
					return
				case progress <- struct{}{}:
				default:
					request(o)
				}
			}
		})
	}
	for i := range 20 {
		s := tracing(c.URL, ir.OTLP, million)
		if i%3 == 0 {
			s.Tracing.Format = ir.Zipkin
		}
		s.AccessLog.Errors = i%2 == 0
		o.Configure(s)
		for range 3 {
			<-progress // some requests with each
		}
	}
	o.Close(bounded(t))
	close(done)
	load.Wait()
	c.Close()
}
