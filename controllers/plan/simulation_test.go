package plan

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sluice-mesh/sluice/api/v1alpha1"
)

var (
	planRuns = flag.Int("plan.runs", 10000, "runs of the simulation")
	planSeed = flag.Uint64("plan.seed", 0, "run only this seed, and tell its story")
)

// TestSimulation runs releases through everything that can happen to them and checks the eight
// invariants after every step.
func TestSimulation(t *testing.T) {
	if *planSeed != 0 {
		fault, story := tell(*planSeed, sane)
		t.Log(story)
		if fault != "" {
			t.Fatal(fault)
		}
		return
	}
	runs := *planRuns
	if testing.Short() {
		runs = min(runs, 1000)
	}
	tally := &tally{}
	if seed := search(runs, sane, tally); seed != 0 {
		fault, story := tell(seed, sane)
		t.Fatalf("seed %d (again with -plan.seed=%d): %s\n%s", seed, seed, fault, story)
	}
	t.Logf("%d runs: %s", runs, tally)
	if !testing.Short() {
		tally.check(t, runs)
	}
}

// search is the first seed of so many whose run breaks an invariant; 0 when none does.
func search(runs int, think func() func(Observed, time.Time) Decision, tally *tally) uint64 {
	var next, found atomic.Uint64
	var group sync.WaitGroup
	for range 4 {
		group.Go(func() {
			for {
				seed := next.Add(1)
				if seed > uint64(runs) || found.Load() != 0 { //nolint:gosec // a number of runs
					return
				}
				w := newWorld(seed, think())
				if w.run(); w.fault != "" {
					found.CompareAndSwap(0, seed)
				}
				tally.add(w)
			}
		})
	}
	group.Wait()
	return found.Load()
}

// tell runs one seed again and writes its story down.
func tell(seed uint64, think func() func(Observed, time.Time) Decision) (fault, story string) {
	var b strings.Builder
	w := newWorld(seed, think())
	start := w.now
	w.tell = func(format string, args ...any) {
		fmt.Fprintf(&b, "%8.2fs  %s\n", w.now.Sub(start).Seconds(), fmt.Sprintf(format, args...))
	}
	w.run()
	return w.fault, b.String()
}

// tally counts how runs went, to see that the simulation gets everywhere.
type tally struct {
	mu                                  sync.Mutex
	promoted, rolledBack, deleted, runs int
	steps, inconclusive                 int
	letThrough, analysedAfter           int
	besideBaseline, withoutBaseline     int
}

func (y *tally) add(w *world) {
	y.mu.Lock()
	defer y.mu.Unlock()
	y.runs++
	y.steps += w.steps
	y.promoted += w.ends[v1alpha1.OutcomePromoted]
	y.rolledBack += w.ends[v1alpha1.OutcomeRolledBack]
	y.inconclusive += w.ends["inconclusive"]
	y.letThrough += w.ends["let through"]
	y.analysedAfter += w.ends["analysed afterwards"]
	y.besideBaseline += w.ends["beside a baseline"]
	y.withoutBaseline += w.ends["without a baseline"]
	if !w.rollout.exists {
		y.deleted++
	}
}

func (y *tally) String() string {
	return fmt.Sprintf("%d steps, %d releases promoted, %d rolled back, %d inconclusive for a while, %d let through without requests, %d analysed after promotion, %d promoted beside a baseline, %d held for want of one, %d Rollouts deleted",
		y.steps, y.promoted, y.rolledBack, y.inconclusive, y.letThrough, y.analysedAfter, y.besideBaseline, y.withoutBaseline, y.deleted)
}

// check makes sure that the runs do not pass by doing nothing.
func (y *tally) check(t *testing.T, runs int) {
	t.Helper()
	for what, n := range map[string]int{"promoted": y.promoted, "rolled back": y.rolledBack} {
		if n < runs/5 {
			t.Errorf("only %d releases %s in %d runs: the simulation does not get there", n, what, runs)
		}
	}
	for what, n := range map[string]int{
		"inconclusive": y.inconclusive, "deleted": y.deleted, "let through": y.letThrough, "analysed after promotion": y.analysedAfter,
		"promoted beside a baseline": y.besideBaseline, "held for want of a baseline": y.withoutBaseline,
	} {
		if n < runs/300 {
			t.Errorf("only %d %s in %d runs: the simulation does not get there", n, what, runs)
		}
	}
}

func seconds(n float64) *metav1.Duration {
	return &metav1.Duration{Duration: time.Duration(n * float64(time.Second))}
}

func weight(n int32) v1alpha1.Step { return v1alpha1.Step{SetWeight: &n} }

func pause(d *metav1.Duration) v1alpha1.Step {
	return v1alpha1.Step{Pause: &v1alpha1.PauseStep{Duration: d}}
}

func analysis(d *metav1.Duration) v1alpha1.Step {
	return v1alpha1.Step{Analysis: &v1alpha1.AnalysisStep{Duration: d}}
}

// templates is an analysis step with a run of templates.
func templates(d *metav1.Duration) v1alpha1.Step {
	step := analysis(d)
	step.Analysis.Templates = []v1alpha1.TemplateRef{{Name: "t"}}
	return step
}

func approval(d *metav1.Duration) v1alpha1.Step {
	return v1alpha1.Step{Approval: &v1alpha1.ApprovalStep{Timeout: d}}
}

var strategies = [][]v1alpha1.Step{
	{weight(20), weight(60)},
	{weight(20)},
	{weight(10), analysis(nil), weight(50), pause(seconds(2))},
	{weight(25), pause(nil), weight(50), approval(seconds(30)), analysis(seconds(4))},
	{weight(100)},
	{weight(5), pause(seconds(3)), approval(nil), weight(30), analysis(seconds(3)), analysis(seconds(3))},
	{weight(10), templates(nil), weight(60), templates(seconds(2))},
}

// newWorld is a cluster whose first version is about to roll out.
func newWorld(seed uint64, think func(Observed, time.Time) Decision) *world {
	w := &world{think: think, ends: map[string]int{}}
	w.watcher.succeeded, w.watcher.measured, w.watcher.let = map[string]bool{}, map[string]bool{}, map[int64]bool{}
	w.rand = rand.New(rand.NewPCG(seed, 42)) //nolint:gosec // a simulation
	w.now = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	w.policy, w.natures = true, map[string]nature{}
	for _, name := range versions {
		w.natures[name] = nature{
			startup: time.Duration(w.rand.IntN(3000)) * time.Millisecond,
			never:   w.rand.IntN(10) == 0, bad: w.rand.IntN(5) == 0,
		}
	}
	w.deployment = simDeployment{exists: true, uid: w.next(), version: w.next(), generation: 1, labelled: true, replicas: 1 + w.rand.Int32N(5), template: versions[0]}
	w.service = simService{exists: true, uid: w.next(), version: w.next(), selects: true}
	for i := range 2 + w.rand.IntN(2) {
		w.proxies = append(w.proxies, simProxy{name: fmt.Sprintf("proxy-%d", i), slow: w.rand.IntN(4) == 0})
	}
	bake := []float64{0, 3, 6}[w.rand.IntN(3)]
	w.rollout = simRollout{exists: true, version: w.next(), generation: 1, spec: v1alpha1.RolloutSpec{
		WorkloadRef: v1alpha1.WorkloadRef{Name: "web"},
		Service:     v1alpha1.ServiceRef{Name: "web", Narrow: w.rand.IntN(2) == 0},
		Canary:      v1alpha1.CanaryStrategy{Steps: strategies[w.rand.IntN(len(strategies))]},
		Analysis:    v1alpha1.AnalysisSpec{Duration: seconds(3), Interval: seconds(1)},
		BakeTime:    seconds(bake),
		Deadlines: v1alpha1.Deadlines{
			Progress: seconds(25), Acknowledge: seconds(4), Analysis: seconds(8), Drain: seconds(2), Release: seconds(120),
		},
	}}
	w.analysing(&w.rollout.spec.Analysis)
	w.quiet = w.rand.IntN(20) == 0
	w.withBaseline()
	return w
}

func sane() func(Observed, time.Time) Decision { return Next }

var versions = []string{"a", "b", "c", "d"}

// run is one story: some peace to get going, disturbances, then calm until everything rests.
func (w *world) run() {
	w.natures["a"] = nature{startup: w.natures["a"].startup, never: w.rand.IntN(20) == 0}
	for range 6 {
		w.step(false)
	}
	w.change("b")
	w.rate = []int{3, 6, 20}[w.rand.IntN(3)]
	for range 15 + w.rand.IntN(30) {
		w.step(true)
		if w.fault != "" {
			return
		}
	}
	w.settle()
	restless := w.now
	for range 600 {
		if w.step(false); w.fault != "" {
			return
		}
		if !w.rollout.exists || !releasing(w.rollout.status.Phase) && !w.dirty && w.lastSerial == w.serial && w.converged() {
			if w.now.Sub(restless) > 6*time.Second {
				break
			}
		} else {
			restless = w.now
		}
		w.lastSerial = w.serial
	}
	w.watcher.ended(w)
}

// converged: every proxy that can has what is published.
func (w *world) converged() bool {
	want := splitOf(&w.rollout.status)
	for i := range w.proxies {
		if p := &w.proxies[i]; !p.cut && p.inForce != want {
			return false
		}
	}
	return true
}

// settle ends the disturbances: what is broken is mended, except what is broken by nature.
func (w *world) settle() {
	w.say("calm")
	w.calm, w.policy, w.mute, w.prometheusAway = true, true, false, false
	w.rollout.invalid, w.rollout.version = "", w.next()
	if w.deployment.exists {
		w.deployment.labelled = true
		w.deployment.version = w.next()
	}
	w.service.exists, w.service.selects = true, true
	w.service.version = w.next()
	for i := range w.proxies {
		p := &w.proxies[i]
		p.refuses = false
		p.cut = p.cut && w.rand.IntN(3) == 0
	}
	for i := range w.pods {
		w.pods[i].downTill = time.Time{}
	}
	if s := w.rollout.status.Stable; s != nil {
		w.heal(s.TemplateHash)
	}
	w.dirty = true
}

// heal makes a template's pods able to start.
func (w *world) heal(template string) {
	n := w.natures[template]
	n.never = false
	w.natures[template] = n
	for i := range w.pods {
		if rs := w.byUID(w.pods[i].set); rs != nil && rs.template == template && w.pods[i].readyAt.IsZero() {
			w.pods[i].readyAt = w.now.Add(n.startup)
		}
	}
}

// step lets a moment pass.
func (w *world) step(disturbed bool) {
	w.steps++
	moments := [...]time.Duration{50 * time.Millisecond, 400 * time.Millisecond, time.Second, 1500 * time.Millisecond, 2500 * time.Millisecond}
	if w.calm {
		w.now = w.now.Add(moments[1+w.rand.IntN(4)])
	} else {
		w.now = w.now.Add(moments[w.rand.IntN(4)])
	}
	if disturbed && w.rand.IntN(w.rate) == 0 {
		w.disturb()
	}
	for range 1 + w.rand.IntN(2) {
		w.deploymentController()
		w.replicaSetController()
	}
	w.observe()
	w.runController()
	before := w.verdict
	w.push()
	w.look()
	if w.cacheSerial != w.serial && (w.calm || w.rand.IntN(4) > 0) {
		w.copyTo(&w.cache)
		w.cacheSerial, w.dirty = w.serial, true
	}
	if w.rand.IntN(3) == 0 {
		w.cachedRollout = w.rollout
	}
	if m := w.inForceSum(); m != w.lastMesh {
		w.lastMesh, w.dirty = m, true
	}
	due := !w.wake.IsZero() && !w.now.Before(w.wake)
	if (w.dirty || due || before != w.verdict) && !w.now.Before(w.downTill) {
		w.dirty = false
		w.reconcile()
	}
	w.watcher.step(w)
}

// observe brings what controllers write to status up to date, which makes old reads conflict.
func (w *world) observe() {
	w.kubelet()
	for i := range w.sets {
		rs := &w.sets[i]
		active, all, ready := w.counts(rs.uid)
		if now := [3]int32{active, all, ready}; now != rs.status {
			rs.status = now
			w.touch(rs)
		}
	}
}

func (w *world) inForceSum() int64 {
	sum := int64(0)
	for i := range w.proxies {
		p := &w.proxies[i]
		sum = sum*31 + p.inForce.epoch*7 + p.rejected*3 + int64(len(p.inForce.canary))
		if p.cut {
			sum++
		}
	}
	return sum
}

// change writes a new template.
func (w *world) change(template string) {
	w.say("somebody sets the template to %s (%+v)", template, w.natures[template])
	w.setTemplate(template)
}

// disturb lets something happen.
func (w *world) disturb() {
	d, r := &w.deployment, &w.rollout
	if w.loseBaseline() {
		return
	}
	switch n := w.rand.IntN(100); {
	case n < 8:
		w.change(versions[w.rand.IntN(len(versions))])
	case n < 22:
		w.scaleTo(1 + w.rand.Int32N(6))
	case n < 24:
		w.scaleTo(0)
	case n < 27:
		d.labelled, d.version = !d.labelled, w.next()
		w.say("somebody sets the label to %v", d.labelled)
	case n < 29:
		w.policy = !w.policy
		w.say("hold policy installed: %v", w.policy)
	case n < 31 && d.exists:
		if !w.policy || !d.held || !d.labelled {
			d.paused, d.held, d.version = !d.paused, false, w.next()
			d.generation++
			w.watcher.wild = true
			w.say("somebody sets paused to %v", d.paused)
		}
	case n < 34:
		w.service.narrowed, w.service.version = "", w.next()
		w.say("somebody applies the Service's own selector")
	case n < 36:
		w.service.exists, w.service.narrowed, w.service.uid, w.service.version = !w.service.exists, "", w.next(), w.next()
		w.say("the Service exists: %v", w.service.exists)
	case n < 37:
		w.service.selects, w.service.version = !w.service.selects, w.next()
		w.say("the Service's selector matches: %v", w.service.selects)
	case n < 45:
		p := &w.proxies[w.rand.IntN(len(w.proxies))]
		p.cut = !p.cut
		w.say("%s is cut off: %v", p.name, p.cut)
	case n < 49:
		p := &w.proxies[w.rand.IntN(len(w.proxies))]
		p.refuses = !p.refuses
		w.say("%s refuses: %v", p.name, p.refuses)
	case n < 51:
		w.mute = !w.mute
		w.say("acknowledgements are reported: %v", !w.mute)
	case n < 57:
		w.prometheusAway = !w.prometheusAway
		w.say("Prometheus is away: %v", w.prometheusAway)
	case n < 68:
		w.crash()
	case n < 70:
		w.vanish()
	case n < 92:
		w.command()
	case n < 94:
		if r.invalid = "spec: contradicts itself"; w.rand.IntN(3) > 0 {
			r.invalid = ""
		}
		r.version = w.next()
		w.say("the spec is invalid: %q", r.invalid)
	case n < 96:
		r.spec.Canary.Steps = strategies[w.rand.IntN(len(strategies))]
		r.generation++
		r.version = w.next()
		w.say("somebody changes the steps")
	case n < 98 && w.rand.IntN(2) == 0 && r.exists && !r.deleting:
		w.say("somebody deletes the Rollout")
		r.deleting, r.version = true, w.next()
		r.exists = r.finalizer // without one nothing of ours can be left, or the operator has not seen it yet
	case n < 99 && w.rand.IntN(4) == 0:
		w.say("somebody deletes the Deployment")
		w.deleteDeployment()
		w.next()
	default:
		w.downTill = w.now.Add(time.Duration(w.rand.IntN(8000)) * time.Millisecond)
		w.say("the operator is away")
	}
}

func (w *world) scaleTo(replicas int32) {
	d := &w.deployment
	if d.exists && d.replicas != replicas {
		if d.replicas == 0 {
			w.watcher.wild = true // the Deployment controller brings up whichever ReplicaSet it likes
		}
		d.replicas, d.version = replicas, w.next()
		d.generation++
		w.say("somebody scales to %d", replicas)
	}
}

// crash takes pods down for a while: one, or all of a revision.
func (w *world) crash() {
	if len(w.pods) == 0 {
		return
	}
	victim, all := w.pods[w.rand.IntN(len(w.pods))], w.rand.IntN(3) == 0
	till := w.now.Add(time.Duration(w.rand.IntN(15000)) * time.Millisecond)
	if s := w.rollout.status; s.Baseline != nil && w.rand.IntN(4) == 0 {
		w.crashAllBut(s.Baseline.Hash, till)
		return
	}
	for i := range w.pods {
		if p := &w.pods[i]; p.hash == victim.hash && (all || w.rand.IntN(2) == 0) {
			p.downTill = till
		}
	}
	w.say("pods of %s crash (all: %v)", victim.hash, all)
}

// command lets a person order something, not always to the point.
func (w *world) command() {
	verbs := []v1alpha1.Verb{
		v1alpha1.VerbPromote, v1alpha1.VerbAbort, v1alpha1.VerbApprove, v1alpha1.VerbApprove, v1alpha1.VerbReject,
		v1alpha1.VerbRetry, v1alpha1.VerbRetry, v1alpha1.VerbPause, v1alpha1.VerbResume, v1alpha1.VerbResume, v1alpha1.VerbResume, "dance",
	}
	c := &v1alpha1.Command{ID: fmt.Sprint(w.next()), Verb: verbs[w.rand.IntN(len(verbs))], By: "ada"}
	if s := w.rollout.status; s.Release != nil {
		c.Release = s.Release.ID
		if s.Step != nil && w.rand.IntN(4) > 0 {
			step := s.Step.Index
			c.Step = &step
		}
	}
	if w.rand.IntN(10) == 0 {
		c.Release = "other-1"
	}
	w.rollout.command, w.rollout.version = c, w.next()
	w.say("ada orders %s", c.Verb)
}
