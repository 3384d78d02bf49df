package runs

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"

	"github.com/sluice-mesh/sluice/analysis/check"
	"github.com/sluice-mesh/sluice/api/v1alpha1"
)

// measurer measures metrics apart from the reconciler, so that a slow server holds up neither other runs nor
// the end of its own. What it has measured waits for the reconciler to put it on record; what was not on
// record when the process ends is measured again by the next. It is a Runnable of the leader.
type measurer struct {
	reader     client.Reader
	prometheus Querier
	loopback   bool
	now        func() time.Time

	once    sync.Once
	started chan struct{}
	ctx     context.Context //nolint:containedctx // the life of the measurements' goroutines, given by Start
	group   sync.WaitGroup
	lanes   lanes

	mu      sync.Mutex
	runs    map[types.UID]*measured
	changed chan event.TypedGenericEvent[client.Object]
}

// measured is one run's: what is under way, and what has arrived since the status was written.
type measured struct {
	name     types.NamespacedName
	stop     map[string]context.CancelFunc
	arrivals arrived
}

// longestMeasurement bounds a measurement, whatever its provider does: twice the longest timeout, and what
// reading Secrets takes.
const longestMeasurement = 3 * time.Minute

func newMeasurer(reader client.Reader, prometheus Querier, loopback bool, now func() time.Time) *measurer {
	return &measurer{
		reader: reader, prometheus: prometheus, loopback: loopback, now: now,
		started: make(chan struct{}), runs: map[types.UID]*measured{},
		changed: make(chan event.TypedGenericEvent[client.Object], 1024),
	}
}

// Start owns the measurements' goroutines until the context ends, and waits for them.
func (m *measurer) Start(ctx context.Context) error {
	m.ctx = ctx
	m.once.Do(func() { close(m.started) })
	<-ctx.Done()
	m.group.Wait()
	return nil
}

// begin measures one metric of a run, unless that is under way. False: not yet, ask again.
func (m *measurer) begin(run *v1alpha1.AnalysisRun, metric v1alpha1.Metric) bool {
	select {
	case <-m.started:
	default:
		return false
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	of := m.of(run)
	if _, waits := of.arrivals[metric.Name]; waits || of.stop[metric.Name] != nil {
		return true
	}
	ctx, stop := context.WithTimeout(m.ctx, longestMeasurement)
	of.stop[metric.Name] = stop
	run = run.DeepCopy()
	m.group.Go(func() {
		defer stop()
		measurement := m.measure(ctx, run, metric)
		if errors.Is(ctx.Err(), context.Canceled) {
			return // the run has ended, or this process does
		}
		m.keep(run, metric.Name, measurement)
		select {
		case m.changed <- event.TypedGenericEvent[client.Object]{Object: run}:
		case <-m.ctx.Done():
		}
	})
	return true
}

// of is what is known of a run; the caller has the lock.
func (m *measurer) of(run *v1alpha1.AnalysisRun) *measured {
	if m.runs[run.UID] == nil {
		m.runs[run.UID] = &measured{client.ObjectKeyFromObject(run), map[string]context.CancelFunc{}, arrived{}}
	}
	return m.runs[run.UID]
}

// keep keeps a measurement until it is on record.
func (m *measurer) keep(run *v1alpha1.AnalysisRun, metric string, measurement check.Measurement) {
	m.mu.Lock()
	defer m.mu.Unlock()
	of := m.of(run)
	delete(of.stop, metric)
	of.arrivals[metric] = measurement
}

// arrivals are what has been measured and is not on record.
func (m *measurer) arrivals(uid types.UID) arrived {
	m.mu.Lock()
	defer m.mu.Unlock()
	if of := m.runs[uid]; of != nil {
		return maps.Clone(of.arrivals)
	}
	return nil
}

// recorded forgets what is on record now.
func (m *measurer) recorded(uid types.UID, news arrived) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if of := m.runs[uid]; of != nil {
		for name := range news {
			delete(of.arrivals, name)
		}
	}
}

// forget ends the measurements of a run that is over or gone.
func (m *measurer) forget(uid types.UID) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if of := m.runs[uid]; of != nil {
		for _, stop := range of.stop {
			stop()
		}
		delete(m.runs, uid)
	}
}

// measure asks about one metric and judges the answer. It is the only thing here that takes time.
func (m *measurer) measure(ctx context.Context, run *v1alpha1.AnalysisRun, metric v1alpha1.Metric) check.Measurement {
	began := m.now()
	secrets := newSecrets(m.reader, run.Namespace)
	measurement, err := m.judge(ctx, secrets, run, metric)
	if err != nil {
		measurement = check.Measurement{Phase: check.Error, Message: err.Error()}
	}
	measurement.StartedAt, measurement.FinishedAt = began, m.now()
	measurement.Value, measurement.Message = secrets.redact(measurement.Value), secrets.redact(measurement.Message)
	return measurement
}

func (m *measurer) judge(ctx context.Context, secrets *secrets, run *v1alpha1.AnalysisRun, metric v1alpha1.Metric) (check.Measurement, error) {
	args, err := readArguments(ctx, secrets, run.Spec)
	if err != nil {
		return check.Measurement{}, err
	}
	control := ""
	if metric.Compare != "" {
		if control = hash(run.Spec.Revisions, metric.Compare); control == "" {
			return check.Measurement{}, &Problem{"compare", lacks(metric.Compare)}
		}
	}
	program, err := compile(metric, args, kinds(metric.Provider)...)
	if err != nil {
		return check.Measurement{}, err
	}
	p, err := m.newProvider(ctx, secrets, run, metric, args)
	if err != nil {
		return check.Measurement{}, err
	}
	defer p.close()
	leave, err := m.lanes.enter(ctx, lane(metric, args))
	if err != nil {
		return check.Measurement{}, fmt.Errorf("wait for earlier measurements at the same server: %w", err)
	}
	defer leave()
	at := m.now() // the same for both versions
	results := []check.Result{p.ask(ctx, args, at)}
	if control != "" {
		results = append(results, p.ask(ctx, args.about(control), at))
	}
	return program.Judge(results...), nil
}

// forgetName ends the measurements of a run that is gone, of which no more than the name is known.
func (m *measurer) forgetName(name types.NamespacedName) {
	m.mu.Lock()
	var gone []types.UID
	for uid, of := range m.runs {
		if of.name == name {
			gone = append(gone, uid)
		}
	}
	m.mu.Unlock()
	for _, uid := range gone {
		m.forget(uid)
	}
}
