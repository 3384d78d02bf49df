package controllers

import (
	"context"
	"fmt"
	"strconv"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/sluice-mesh/sluice/analysis"
	"github.com/sluice-mesh/sluice/api/v1alpha1"
	"github.com/sluice-mesh/sluice/controllers/plan"
)

// Looks lets the judge look at every canary that has weight, at its own interval, apart from the
// reconciler: a slow or absent Prometheus never holds up a rollback. It is a Runnable of the leader.
type Looks struct {
	// Judge looks once.
	Judge Judge
	// Now is the clock.
	Now func() time.Time

	once     sync.Once
	started  chan struct{}
	ctx      context.Context //nolint:containedctx // the life of the looks' goroutines, given by Start
	group    sync.WaitGroup
	mu       sync.Mutex
	running  map[types.UID]*look
	verdicts map[types.UID]v1alpha1.Verdict
	changed  chan event.TypedGenericEvent[client.Object]
}

// look is one canary being looked at, at one weight.
type look struct {
	key  lookKey
	name types.NamespacedName
	stop context.CancelFunc
}

// lookKey changes whenever the look must start anew.
type lookKey struct {
	subject  analysis.Subject
	criteria analysis.Criteria
	epoch    int64
	interval time.Duration
}

// NewLooks makes Looks.
func NewLooks(judge Judge, now func() time.Time) *Looks {
	return &Looks{
		Judge: judge, Now: now,
		started:  make(chan struct{}),
		running:  map[types.UID]*look{},
		verdicts: map[types.UID]v1alpha1.Verdict{},
		changed:  make(chan event.TypedGenericEvent[client.Object], 1024),
	}
}

// Start owns the looks' goroutines until the context ends, and waits for them.
func (l *Looks) Start(ctx context.Context) error {
	l.ctx = ctx
	l.once.Do(func() { close(l.started) })
	<-ctx.Done()
	l.group.Wait()
	return nil
}

// newest is the last verdict about a Rollout's present weight.
func (l *Looks) newest(rollout *v1alpha1.Rollout) *v1alpha1.Verdict {
	l.mu.Lock()
	defer l.mu.Unlock()
	verdict, found := l.verdicts[rollout.UID]
	if !found || verdict.Epoch != rollout.Status.Weight.Epoch {
		return nil
	}
	return &verdict
}

// keep starts looking at a Rollout's canary, or goes on; with judge false it stops.
func (l *Looks) keep(rollout *v1alpha1.Rollout, judge bool) {
	if !judge {
		l.stop(rollout.UID)
		return
	}
	key, err := keyOf(rollout)
	if err != nil {
		l.stop(rollout.UID)
		return
	}
	select {
	case <-l.started:
	default:
		return // not the leader (yet)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if present := l.running[rollout.UID]; present != nil {
		if present.key == key {
			return
		}
		present.stop()
	}
	ctx, stop := context.WithCancel(l.ctx)
	l.running[rollout.UID] = &look{key, client.ObjectKeyFromObject(rollout), stop}
	target := rollout.DeepCopy()
	l.group.Go(func() { l.run(ctx, target, key) })
}

// stop ends the looks at one Rollout and forgets what they said.
func (l *Looks) stop(uid types.UID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if present := l.running[uid]; present != nil {
		present.stop()
		delete(l.running, uid)
	}
	delete(l.verdicts, uid)
}

// forget ends the looks at a Rollout that is gone.
func (l *Looks) forget(name types.NamespacedName) {
	l.mu.Lock()
	var gone []types.UID
	for uid, present := range l.running {
		if present.name == name {
			gone = append(gone, uid)
		}
	}
	l.mu.Unlock()
	for _, uid := range gone {
		l.stop(uid)
	}
}

// run looks at one canary at one weight until it is told to stop.
func (l *Looks) run(ctx context.Context, rollout *v1alpha1.Rollout, key lookKey) {
	ticker := time.NewTicker(key.interval)
	defer ticker.Stop()
	for {
		verdict, err := l.Judge.Look(ctx, key.subject, key.criteria)
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			log.FromContext(ctx).V(1).Info("look at canary", "rollout", client.ObjectKeyFromObject(rollout), "error", err.Error())
			verdict = analysis.Verdict{Outcome: analysis.Inconclusive, Reason: "no evidence: " + err.Error()}
		}
		l.record(rollout, key, verdict)
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// record keeps a verdict and wakes the reconciler.
func (l *Looks) record(rollout *v1alpha1.Rollout, key lookKey, verdict analysis.Verdict) {
	l.mu.Lock()
	if present := l.running[rollout.UID]; present != nil && present.key == key {
		l.verdicts[rollout.UID] = v1alpha1.Verdict{
			Outcome: v1alpha1.VerdictOutcome(verdict.Outcome), Reason: verdict.Reason,
			Weight: int32(key.subject.Weight), Epoch: key.epoch, At: metav1.NewMicroTime(l.Now()), //nolint:gosec // 0 to 100
		}
	}
	l.mu.Unlock()
	select {
	case l.changed <- event.TypedGenericEvent[client.Object]{Object: rollout}:
	default: // the reconciler is behind; it will read the newest verdict when it comes
	}
}

// keyOf says what the judge must look at now.
func keyOf(rollout *v1alpha1.Rollout) (lookKey, error) {
	spec, status := rollout.Spec.Analysis, rollout.Status
	if status.Stable == nil || status.Canary == nil || status.Weight.DecidedAt == nil {
		return lookKey{}, fmt.Errorf("judge rollout %s: no canary has weight", rollout.Name)
	}
	rate, err := strconv.ParseFloat(spec.SuccessRate, 64)
	if err != nil {
		return lookKey{}, fmt.Errorf("spec.analysis.successRate: %w", err)
	}
	key := lookKey{
		subject: analysis.Subject{
			Namespace: rollout.Namespace, Service: rollout.Spec.Service.Name,
			Stable: status.Stable.Hash, Canary: status.Canary.Hash,
			Weight: uint32(status.Weight.Desired), //nolint:gosec // 0 to 100
			Since:  status.Weight.DecidedAt.Time,
		},
		criteria: analysis.Criteria{SuccessRate: rate / 100, MinRequests: 1, Duration: plan.LookFor(rollout.Spec, status)},
		epoch:    status.Weight.Epoch, interval: time.Second,
	}
	if spec.LatencyP99 != nil {
		key.criteria.LatencyP99 = spec.LatencyP99.Duration
	}
	if spec.MinRequests != nil {
		key.criteria.MinRequests = int(*spec.MinRequests)
	}
	if spec.Interval != nil {
		key.interval = max(spec.Interval.Duration, 100*time.Millisecond)
	}
	return key, nil
}
