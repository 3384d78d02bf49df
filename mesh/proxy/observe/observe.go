// Package observe tells people of single requests: access logs as JSON lines, and spans to a collector. It
// knows nothing of how requests are carried; metrics are package telemetry's.
//
// Nothing of it holds up a request: lines and spans go into bounded memory, and what has no room there is
// dropped and counted (sluice_proxy_access_log_lines_dropped_total, sluice_proxy_spans_dropped_total).
// While nothing is asked for, Begin and End cost an atomic load.
//
// Spans are written as JSON by our own hands, in OTLP's and in Zipkin's form. OpenTelemetry's exporters
// would link grpc-go and the OTLP messages, several megabytes in every pod that has a proxy.
//
// The collector is reached straight from the proxy, whose own connections are not captured, so that sending
// spans makes no spans.
package observe

import (
	"context"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sluice-mesh/sluice/mesh/ir"
)

// Resource says whose proxy this is; it is part of every span.
type Resource struct {
	// Service is the application's name, Version the proxy's.
	Service, Namespace, Pod, Version string
}

// Options of an Observer. Only Registerer is required.
type Options struct {
	Resource Resource
	// Writer takes access logs, a number of whole lines in each call; nil: there are none.
	Writer io.Writer
	// Registerer takes the counters of what was dropped.
	Registerer prometheus.Registerer
	// Client reaches the collector; by default one of its own that gives up after 10 s.
	Client *http.Client
	// Now is the clock by which Retry-After is read; time.Now by default.
	Now func() time.Time
	// Random draws traces and makes their names; math/rand/v2.Uint64 by default.
	Random func() uint64
	// Logger is told when the collector cannot be reached, and when it can again; slog.Default() by default.
	Logger *slog.Logger
}

// Observer writes access logs and sends spans as the settings in force say. A nil Observer observes nothing.
// It is safe for concurrent use.
type Observer struct {
	options Options
	metrics *metrics
	inForce atomic.Pointer[inForce] // nil: nothing is asked for

	mu       sync.Mutex // of what follows
	closed   bool
	spool    *spool
	exporter *exporter
	retired  sync.WaitGroup // exporters of earlier settings; giveUp ends their sending
	retire   context.Context
	giveUp   context.CancelFunc
}

// inForce are settings, compiled.
type inForce struct {
	log      ir.AccessLog
	spool    *spool // nil: no access logs
	tracing  ir.Tracing
	exporter *exporter // nil: no spans
}

// New makes an observer that observes nothing before Configure. Close ends it.
func New(o Options) *Observer {
	if o.Client == nil {
		o.Client = &http.Client{
			Timeout:   10 * time.Second,
			Transport: &http.Transport{MaxIdleConns: 1, IdleConnTimeout: time.Minute},
		}
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Random == nil {
		o.Random = rand.Uint64
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	made := &Observer{options: o, metrics: newMetrics(o.Registerer)}
	made.retire, made.giveUp = context.WithCancel(context.Background())
	return made
}

// Configure puts settings in force. Spans that wait for the collector of earlier settings are sent yet.
func (o *Observer) Configure(s ir.Settings) {
	if o == nil {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed {
		return
	}
	next := &inForce{log: s.AccessLog, tracing: s.Tracing}
	if o.options.Writer != nil && s.AccessLog != (ir.AccessLog{}) {
		if o.spool == nil {
			o.spool = newSpool(o.options.Writer, o.metrics.lost)
		}
		next.spool = o.spool
	}
	if e := o.exporter; e != nil && (e.url != s.Tracing.Endpoint || e.format != s.Tracing.Format) {
		o.exporter = nil
		o.retired.Go(func() {
			ctx, cancel := context.WithTimeout(o.retire, 5*time.Second)
			defer cancel()
			e.close(ctx)
		})
	}
	if s.Tracing.Endpoint != "" {
		if o.exporter == nil {
			o.exporter = newExporter(o.options, o.metrics, s.Tracing)
		}
		next.exporter = o.exporter
	}
	if next.spool == nil && next.exporter == nil {
		next = nil
	}
	o.inForce.Store(next)
}

// Wants reports whether End may have anything to do for a request that ended so (see Record); else no record
// needs to be made. It is for engines to ask first, since most requests are of no interest as a rule.
func (o *Observer) Wants(s *Span, code, grpc int, d time.Duration) bool {
	if o == nil {
		return false
	}
	f := o.inForce.Load()
	return f != nil && (s != nil && f.exporter != nil || f.spool != nil && (f.log.Share > 0 || f.striking(code, grpc, d)))
}

// Headers is how a request's header is read, name in lower case.
type Headers interface {
	Header(name string) (value string, found bool)
}

// intended is on requests that a mesh proxy sends (engine.Intended), which has drawn for them already.
const intended = "sluice-intended"

// Begin decides whether a request gets a span; nil: it does not, and its trace headers pass untouched.
func (o *Observer) Begin(h Headers) *Span {
	if o == nil {
		return nil
	}
	f := o.inForce.Load()
	if f == nil || f.exporter == nil {
		return nil
	}
	s := extract(h)
	switch s.decision {
	case denied:
		return nil
	case undecided:
		if _, drawn := h.Header(intended); drawn || !o.draw(f.tracing.Share) {
			return nil
		}
	}
	if s.trace == (traceID{}) {
		s.begin(h, f.tracing.Propagation, o.options.Random)
	}
	s.id = newSpanID(o.options.Random)
	return &s
}

// draw is true for a share, in parts of a million.
func (o *Observer) draw(share uint32) bool {
	return share > 0 && o.options.Random()%ir.Million < uint64(share)
}

// End of a request: writes it where the settings ask for it, and ends its span (may be nil). The record is
// the caller's again afterwards.
func (o *Observer) End(s *Span, r *Record) {
	if o == nil {
		return
	}
	f := o.inForce.Load()
	if f == nil {
		return
	}
	if f.spool != nil && (f.striking(r.Code, r.GRPC, r.Duration) || o.draw(f.log.Share)) {
		scratch := scratches.Get().(*[]byte)
		*scratch = appendLine((*scratch)[:0], s, r)
		f.spool.add(*scratch)
		scratches.Put(scratch)
	}
	if s != nil && f.exporter != nil {
		scratch := scratches.Get().(*[]byte)
		*scratch = f.exporter.append((*scratch)[:0], s, r)
		f.exporter.add(*scratch)
		scratches.Put(scratch)
	}
}

// scratches are buffers in which one line or span is made; texts are bounded, so they stay small.
var scratches = sync.Pool{New: func() any { return new([]byte) }}

// striking requests are always written. An error is the server's fault, or no answer at all.
func (f *inForce) striking(code, grpc int, d time.Duration) bool {
	return f.log.Errors && (code == 0 || code >= 500 || grpc > 0) || f.log.Slow > 0 && d >= f.log.Slow
}

// Close writes and sends what is waiting, as long as the context lets it, and ends the observer.
func (o *Observer) Close(ctx context.Context) {
	if o == nil {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed {
		return
	}
	o.closed = true
	o.inForce.Store(nil)
	if o.spool != nil {
		o.spool.close(ctx)
	}
	if o.exporter != nil {
		o.exporter.close(ctx)
	}
	defer context.AfterFunc(ctx, o.giveUp)()
	o.retired.Wait()
	o.giveUp()
	o.options.Client.CloseIdleConnections()
}

// metrics count what does not reach people.
type metrics struct {
	lost    prometheus.Counter
	sent    prometheus.Counter
	dropped *prometheus.CounterVec
}

// Why a span was dropped.
const (
	noRoom      = "full"        // too many wait for the collector
	refused     = "refused"     // the collector does not want it
	unreachable = "unreachable" // the collector does not answer
)

func newMetrics(r prometheus.Registerer) *metrics {
	m := &metrics{
		lost: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "sluice_proxy_access_log_lines_dropped_total",
			Help: "Lines of the access log that were not written: more came than the output took.",
		}),
		sent: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "sluice_proxy_spans_sent_total",
			Help: "Spans that the collector has taken.",
		}),
		dropped: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "sluice_proxy_spans_dropped_total",
			Help: "Spans that did not reach the collector.",
		}, []string{"reason"}),
	}
	r.MustRegister(m.lost, m.sent, m.dropped)
	return m
}
