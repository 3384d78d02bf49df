package observe

import (
	"context"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/sluice-mesh/sluice/mesh/ir"
)

const (
	// A batch is sent when it has so many spans or bytes, or when its first span is so old.
	batchSpans = 512
	batchBytes = 256 << 10
	batchTime  = time.Second
	// waitingBatches may wait besides the one that is sent and the one that is filled.
	waitingBatches = 3
)

// exporter takes spans to one collector.
type exporter struct {
	url           string
	format        ir.TraceFormat
	resource      Resource
	before, after []byte // of the spans in a message

	client  *http.Client
	now     func() time.Time
	random  func() uint64
	logger  *slog.Logger
	metrics *metrics

	ending     chan struct{} // closed by close: no more waiting
	done       chan struct{} // closed when all is sent or given up
	life       context.Context
	end        context.CancelFunc
	wake, full chan struct{}
	failing    bool // of the sender

	mu      sync.Mutex
	filling batch
	waiting []batch
}

// batch is a number of spans, with commas between them.
type batch struct {
	spans []byte
	n     int
}

func newExporter(o Options, m *metrics, t ir.Tracing) *exporter {
	e := &exporter{
		url: t.Endpoint, format: t.Format, resource: o.Resource, before: []byte{'['}, after: []byte{']'},
		client: o.Client, now: o.Now, random: o.Random, logger: o.Logger.With("collector", ir.Redacted(t.Endpoint)), metrics: m,
		ending: make(chan struct{}), done: make(chan struct{}),
		wake: make(chan struct{}, 1), full: make(chan struct{}, 1),
	}
	if t.Format != ir.Zipkin {
		e.before, e.after = otlpFrame(o.Resource)
	}
	e.life, e.end = context.WithCancel(context.Background())
	go e.run() // ends with close
	return e
}

// append appends a span in the collector's form.
func (e *exporter) append(dst []byte, s *Span, r *Record) []byte {
	if e.format == ir.Zipkin {
		return appendZipkin(dst, e.resource, s, r)
	}
	return appendOTLP(dst, s, r)
}

// add copies a span, or drops it when too many are waiting.
func (e *exporter) add(span []byte) {
	e.mu.Lock()
	defer e.mu.Unlock()
	b := &e.filling
	if b.n == batchSpans || b.n > 0 && len(b.spans)+len(span) > batchBytes {
		if len(e.waiting) == waitingBatches {
			e.metrics.dropped.WithLabelValues(noRoom).Inc()
			return
		}
		e.waiting = append(e.waiting, *b)
		*b = batch{}
		signal(e.full)
	}
	if b.n > 0 {
		b.spans = append(b.spans, ',')
	}
	b.spans = append(b.spans, span...)
	b.n++
	signal(e.wake)
}

// next takes what has waited longest.
func (e *exporter) next() (b batch) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.waiting) > 0 {
		b = e.waiting[0]
		e.waiting = append(e.waiting[:0], e.waiting[1:]...)
		return b
	}
	b, e.filling = e.filling, batch{}
	return b
}

func (e *exporter) run() {
	defer close(e.done)
	timer := time.NewTimer(batchTime)
	defer timer.Stop()
	for ending := false; !ending; {
		select {
		case <-e.wake:
			timer.Reset(batchTime)
			select {
			case <-timer.C:
			case <-e.full:
			case <-e.ending:
			}
		case <-e.ending:
			ending = true
		}
		for b := e.next(); b.n > 0; b = e.next() {
			e.send(b)
		}
	}
}

// close sends what is waiting, as long as the context lets it.
func (e *exporter) close(ctx context.Context) {
	close(e.ending)
	defer context.AfterFunc(ctx, e.end)()
	<-e.done
	e.end()
}
