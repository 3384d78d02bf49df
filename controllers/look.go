package controllers

import (
	"context"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/sluice-mesh/sluice/analysis"
	"github.com/sluice-mesh/sluice/api/v1alpha1"
)

// Looks lets the judge look at every release whose canary has weight, at its own interval, apart from the
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

// look is one release being looked at.
type look struct {
	key  lookKey
	name types.NamespacedName
	stop context.CancelFunc
	// next is what to look at next time; wake is for what cannot wait for that.
	next target
	wake chan struct{}
}

// lookKey changes whenever the look must start anew: with another release, or at another pace.
type lookKey struct {
	stable, canary string
	since          time.Time
	interval       time.Duration
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

// keep starts looking at a Rollout's release, or goes on with what is now in its spec and status; with judge
// false it stops.
func (l *Looks) keep(rollout *v1alpha1.Rollout, judge bool) {
	if !judge {
		l.stop(rollout.UID)
		return
	}
	next, err := targetOf(rollout)
	if err != nil {
		l.stop(rollout.UID)
		return
	}
	select {
	case <-l.started:
	default:
		return // not the leader (yet)
	}
	key := lookKey{next.release.Stable, next.release.Canary, next.release.Since, time.Second}
	if interval := rollout.Spec.Analysis.Interval; interval != nil {
		key.interval = max(interval.Duration, 100*time.Millisecond)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if present := l.running[rollout.UID]; present != nil {
		if present.key == key {
			// A weight that is live may be done with on what is known. Before, there is nothing to see of it, and
			// a question would only be in the way of the proxies that are being told.
			if next.live && (present.next.epoch != next.epoch || !present.next.live) {
				select {
				case present.wake <- struct{}{}:
				default: // it has been woken and not looked yet
				}
			}
			present.next = next
			return
		}
		present.stop()
	}
	ctx, stop := context.WithCancel(l.ctx)
	started := &look{key, client.ObjectKeyFromObject(rollout), stop, next, make(chan struct{}, 1)}
	l.running[rollout.UID] = started
	about := rollout.DeepCopy()
	l.group.Go(func() { l.run(ctx, about, started) })
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

// run looks at one release until it is told to stop.
func (l *Looks) run(ctx context.Context, rollout *v1alpha1.Rollout, self *look) {
	ticker := time.NewTicker(self.key.interval)
	defer ticker.Stop()
	for {
		l.mu.Lock()
		about := self.next
		l.mu.Unlock()
		verdict, err := l.Judge.Look(ctx, about.release, about.settings)
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			log.FromContext(ctx).V(1).Info("look at canary", "rollout", client.ObjectKeyFromObject(rollout), "error", err.Error())
			verdict = analysis.Verdict{Outcome: analysis.Inconclusive, Reason: "no evidence: " + err.Error()}
		}
		l.record(rollout, self, verdictOf(verdict, about, l.Now()))
		select {
		case <-ctx.Done():
			return
		case <-self.wake:
		case <-ticker.C:
		}
	}
}

// record keeps a verdict and wakes the reconciler.
func (l *Looks) record(rollout *v1alpha1.Rollout, self *look, verdict v1alpha1.Verdict) {
	l.mu.Lock()
	if l.running[rollout.UID] == self {
		l.verdicts[rollout.UID] = verdict
	}
	l.mu.Unlock()
	select {
	case l.changed <- event.TypedGenericEvent[client.Object]{Object: rollout}:
	default: // the reconciler is behind; it will read the newest verdict when it comes
	}
}
