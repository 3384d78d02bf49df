package plan

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strconv"
	"time"

	"github.com/sluice-mesh/sluice/api/v1alpha1"
)

// This file is the operator of the simulation: gather (from a cache that may be old), Next, persist,
// apply; it may die between any two writes.

var errOutdated = errors.New("outdated")

type simRollout struct {
	exists, deleting, finalizer bool
	version                     int
	generation                  int64
	spec                        v1alpha1.RolloutSpec
	status                      v1alpha1.RolloutStatus
	command                     *v1alpha1.Command
	invalid                     string
}

// world is everything of one run.
type world struct {
	cluster
	rollout        simRollout
	cache          objects // what the operator's informers have seen
	cachedRollout  simRollout
	proxies        []simProxy
	mute           bool // no replica of the operator reports acknowledgements
	prometheusAway bool
	asked          bool
	verdict        *v1alpha1.Verdict
	passes         []v1alpha1.Verdict
	wanting        []v1alpha1.Verdict // those that lacked requests only
	quiet          bool               // hardly any requests come
	wake           time.Time
	downTill       time.Time
	calm           bool
	think          func(Observed, time.Time) Decision
	watcher        watcher
	ends           map[string]int
	steps          int
	rate           int // a disturbance in so many steps
	// dirty: something changed that the operator watches.
	dirty                   bool
	lastSerial, cacheSerial int
	lastMesh                int64
	stillZero               bool
	fault                   string // the first broken invariant
}

// gather is what a pass over the cache gives.
func (w *world) gather(r *simRollout) Observed {
	c, s := &w.cache, &r.status
	o := Observed{
		Spec: r.spec, Generation: r.generation, Deleting: r.deleting, Status: *s.DeepCopy(),
		Invalid: r.invalid, Leftovers: c.holder || c.service.canary != "",
	}
	d := c.deployment
	if d.exists {
		o.Workload = Workload{
			Exists: true, UID: strconv.Itoa(d.uid), Labelled: d.labelled, Replicas: d.replicas,
			TemplateHash: d.template, Paused: d.paused, Held: d.held, Settled: d.observed == d.generation,
		}
	}
	stable := ""
	if s.Stable != nil {
		stable = s.Stable.ReplicaSet
	} else {
		best := int32(-1)
		for i := range c.sets {
			rs := &c.sets[i]
			_, all, ready := c.counts(rs.uid)
			if w.owned(rs) && (rs.replicas > 0 || all > 0) && ready > best {
				stable, best = rs.name, ready
			}
		}
	}
	running := 0
	for i := range c.sets {
		rs := &c.sets[i]
		if rs.name == stable {
			o.Stable = w.see(rs)
		}
		handedOver := false
		if s.Canary != nil && rs.name == s.Canary.ReplicaSet {
			o.Canary = w.see(rs)
			handedOver = releasing(s.Phase) && o.Canary.Owned && rs.replicas > 0
		}
		if !w.owned(rs) {
			continue
		}
		if active, _, _ := c.counts(rs.uid); rs.replicas > 0 || active > 0 {
			running++
		}
		if seen := w.see(rs); rs.replicas > 0 && rs.name != stable && !handedOver && (!o.Running.Exists || seen.Available > o.Running.Available) {
			o.Running = seen
		}
		if rs.template == d.template && rs.name != stable && !handedOver && !o.Native.Exists {
			o.Native = w.see(rs) // sorted by creation
		}
	}
	if !o.Canary.Exists && s.Canary != nil {
		if rs := w.set(s.Canary.ReplicaSet); rs != nil {
			o.Canary = w.see(rs) // absence is read from the API server itself
		}
	}
	if s.Baseline != nil {
		if rs := cmp.Or(c.set(s.Baseline.ReplicaSet), w.set(s.Baseline.ReplicaSet)); rs != nil {
			o.Baseline = w.see(rs)
		}
	}
	if !o.Canary.Exists && s.Canary != nil {
		for i := range c.pods {
			if c.pods[i].hash == s.Canary.Hash {
				o.Canary.Pods++
			}
		}
	}
	o.Workload.Settled = o.Workload.Settled && running <= 1
	if st := c.set(stable); st != nil {
		for i := range c.sets {
			rs := &c.sets[i]
			if w.owned(rs) && rs.replicas == 0 && rs.created > st.created && rs.name != o.Native.Name {
				o.Workload.Prunable++
			}
		}
	}
	w.gatherService(&o)
	o.Mesh = w.report(s)
	w.gatherRuns(&o)
	for i := range c.pods {
		if p := &c.pods[i]; o.Canary.Exists && (p.hash == o.Canary.Hash || o.Baseline.Exists && p.hash == o.Baseline.Hash) && p.ready() && p.upSince.After(o.CanaryYoungest) {
			o.CanaryYoungest = p.upSince
		}
	}
	if w.verdict != nil {
		v := *w.verdict
		o.Verdict = &v
	}
	if r.command != nil && (s.LastCommand == nil || s.LastCommand.ID != r.command.ID) {
		o.Command = r.command
	}
	return o
}

func (w *world) gatherService(o *Observed) {
	c := &w.cache
	o.Service = Service{
		Exists: c.service.exists, UID: strconv.Itoa(c.service.uid), Selects: c.service.selects,
		Narrowed: c.service.narrowed, OnlyStable: true, CanaryServiceHash: c.service.canary,
	}
	for i := range c.pods {
		p := &c.pods[i]
		if p.goneAt.IsZero() && p.hash != o.Stable.Hash && (c.service.narrowed == "" || c.service.narrowed == p.hash) {
			o.Service.OnlyStable = false
		}
		if o.Canary.Exists && p.hash == o.Canary.Hash && p.ready() && c.service.exists && c.service.selects &&
			(c.service.narrowed == "" || c.service.narrowed == p.hash) {
			o.Service.CanaryReady++
		}
	}
}

func (w *world) owned(rs *simReplicaSet) bool {
	return rs.owner == byDeployment && w.cache.deployment.exists && rs.ownerUID == w.cache.deployment.uid
}

func (w *world) see(rs *simReplicaSet) ReplicaSet {
	_, all, ready := w.cache.counts(rs.uid)
	return ReplicaSet{
		Exists: true, Name: rs.name, UID: strconv.Itoa(rs.uid), Hash: rs.hash, TemplateHash: rs.template,
		Replicas: rs.replicas, Pods: all, Ready: ready, Available: ready, Owned: w.owned(rs), Ours: rs.owner == byHolder,
	}
}

// reconcile takes one decision and carries out as much of it as the operator lives to.
func (w *world) reconcile() {
	if !w.rollout.exists {
		return
	}
	r := &w.rollout
	if w.rand.IntN(10) == 0 {
		r = &w.cachedRollout // a leader that is behind
		if !r.exists {
			return
		}
	}
	o := w.gather(r)
	d := w.think(o, w.now)
	w.checkPure(o, d)
	lives := 99 // writes until the operator dies
	if !w.calm && w.rand.IntN(12) == 0 {
		lives = w.rand.IntN(4)
	}
	if lives == 0 {
		w.die("before it writes anything")
		return
	}
	if r.version != w.rollout.version {
		w.say("the operator's decision comes from an old Rollout and is refused")
		w.dirty = true
		return
	}
	r = &w.rollout
	if d.Finished {
		w.say("the operator releases the finalizer: %s", d.Reason)
		r.exists = false
		w.watcher.finished(w)
		return
	}
	if d.KeepFinalizer && !r.deleting {
		r.finalizer = true
	}
	before := r.status
	if !reflect.DeepEqual(before, d.Status) {
		r.status, r.version = d.Status, w.next()
		if w.tell != nil && (before.Message != d.Status.Message || before.Weight.Epoch != d.Status.Weight.Epoch || before.Weight.LiveAt != d.Status.Weight.LiveAt) {
			w.say("operator: %s, weight %d epoch %d live %v: %s", d.Status.Phase, d.Status.Weight.Desired, d.Status.Weight.Epoch, d.Status.Weight.LiveAt != nil, d.Reason)
		}
	}
	w.watcher.decided(w, o, before, d)
	w.asked = d.Judge
	for i, op := range d.Ops {
		if lives--; lives <= 0 {
			w.die(fmt.Sprintf("before write %d, %s", i+1, op.Kind))
			return
		}
		if err := w.apply(op, o); err != nil {
			w.say("the write %s is refused: %v", op.Kind, err)
			w.dirty = true
			return
		}
		w.say("the operator writes %s %d %s", op.Kind, op.Size, op.Hash)
	}
	if !d.KeepFinalizer && !r.deleting {
		r.finalizer = false
	}
	w.wake = time.Time{}
	if d.Requeue > 0 {
		w.wake = w.now.Add(d.Requeue)
	}
}

func (w *world) die(when string) {
	w.say("the operator dies %s", when)
	w.dirty = true
	w.verdict, w.asked = nil, false
	w.downTill = w.now.Add(time.Duration(w.rand.IntN(3000)) * time.Millisecond)
}

// checkPure checks invariant 8: the same world gives the same decision, also to an operator that has
// just started and reads its memory from the API server.
func (w *world) checkPure(o Observed, d Decision) {
	if w.rand.IntN(60) > 0 {
		return
	}
	text, err := json.Marshal(o.Status)
	if err != nil {
		w.broken(8, "status cannot be written: %v", err)
		return
	}
	o.Status = v1alpha1.RolloutStatus{}
	if err := json.Unmarshal(text, &o.Status); err != nil {
		w.broken(8, "status cannot be read: %v", err)
		return
	}
	again := w.think(o, w.now)
	a, _ := json.Marshal(d)
	b, _ := json.Marshal(again)
	if string(a) != string(b) {
		w.broken(8, "the same world gave two decisions:\n%s\n%s", a, b)
	}
}

// fresh is a ReplicaSet for writing, if it is still what the cache shows.
func (w *world) fresh(name string) (*simReplicaSet, error) {
	live, seen := w.set(name), w.cache.set(name)
	if live == nil || seen == nil || live.version != seen.version {
		return nil, errOutdated
	}
	return live, nil
}

func (w *world) freshDeployment() (*simDeployment, error) {
	if !w.deployment.exists || w.deployment.version != w.cache.deployment.version {
		return nil, errOutdated
	}
	return &w.deployment, nil
}

func (w *world) apply(op Op, o Observed) error {
	s := &w.rollout.status
	switch op.Kind {
	case OpCreateCanary:
		return w.create(op, s)
	case OpTakeOver:
		rs, err := w.fresh(o.Native.Name)
		if err != nil || rs.replicas != 0 || rs.name != s.Canary.ReplicaSet {
			return errOutdated
		}
		w.watcher.adding(w, rs.hash)
		w.holder = true
		rs.owner, rs.replicas = byHolder, op.Size
		w.touch(rs)
	case OpScaleCanary, OpDeleteCanary, OpHandOver:
		return w.canary(op, s)
	case OpCreateBaseline, OpScaleBaseline, OpDeleteBaseline:
		return w.baseline(op, s, o)
	case OpNarrow, OpRestore, OpCanaryService:
		return w.serve(op)
	case OpUnpause, OpHold, OpRevert:
		return w.pause(op, o)
	case OpSettle:
		for i := range w.sets {
			rs := &w.sets[i]
			if !w.owned(rs) || rs.hash == op.Hash || rs.replicas == 0 {
				continue
			}
			if _, err := w.fresh(rs.name); err != nil {
				return err
			}
			rs.replicas = 0
			w.touch(rs)
		}
	case OpPrune:
		stable := w.cache.set(o.Stable.Name)
		for _, rs := range append([]simReplicaSet(nil), w.sets...) {
			if w.owned(&rs) && rs.replicas == 0 && rs.created > stable.created && rs.name != o.Native.Name {
				if _, err := w.fresh(rs.name); err != nil {
					return err
				}
				w.removeSet(rs.name)
			}
		}
	case OpDropNative:
		rs, err := w.fresh(o.Native.Name)
		if err != nil || rs.replicas != 0 || rs.owner != byDeployment {
			return errOutdated
		}
		w.removeSet(rs.name)
	case OpAnalyse:
		w.analyse(op.Stage)
	case OpStopAnalysis:
		w.stopAnalysis(op.Run)
	case OpCleanUp:
		w.holder, w.service.canary = false, ""
		w.service.version = w.next()
	default:
		return fmt.Errorf("unknown write %s", op.Kind)
	}
	return nil
}

func (w *world) create(op Op, s *v1alpha1.RolloutStatus) error {
	if w.cache.deployment.template != s.Canary.TemplateHash || w.set(s.Canary.ReplicaSet) != nil {
		return errOutdated
	}
	w.watcher.adding(w, op.Hash)
	w.holder = true
	id := w.next()
	w.sets = append(w.sets, simReplicaSet{
		name: s.Canary.ReplicaSet, hash: op.Hash, template: s.Canary.TemplateHash, uid: id, version: id, created: id,
		replicas: op.Size, owner: byHolder, desired: w.cache.deployment.replicas, max: w.cache.deployment.replicas + surge,
	})
	return nil
}

func (w *world) canary(op Op, s *v1alpha1.RolloutStatus) error {
	rs, err := w.fresh(s.Canary.ReplicaSet)
	if err != nil || rs.owner != byHolder {
		return errOutdated
	}
	switch op.Kind {
	case OpScaleCanary:
		rs.replicas = op.Size
		w.touch(rs)
	case OpDeleteCanary:
		w.watcher.removing(w, rs.hash)
		w.removeSet(rs.name)
	case OpHandOver:
		d := &w.deployment
		if !d.exists || d.template != rs.template || d.replicas != op.Size {
			return errOutdated
		}
		w.watcher.handingOver(w, rs)
		rs.owner, rs.ownerUID, rs.desired, rs.max = byDeployment, d.uid, d.replicas, d.replicas+surge
		w.touch(rs)
	}
	return nil
}

func (w *world) serve(op Op) error {
	live := &w.service
	if !live.exists || live.version != w.cache.service.version {
		return errOutdated
	}
	switch op.Kind {
	case OpNarrow:
		live.narrowed = op.Hash
	case OpRestore:
		live.narrowed = ""
	case OpCanaryService:
		live.canary = op.Hash
	}
	live.version = w.next()
	// Later writes of the same pass know what this one did.
	w.cache.service = *live
	return nil
}

func (w *world) pause(op Op, o Observed) error {
	d, err := w.freshDeployment()
	if err != nil {
		return err
	}
	switch op.Kind {
	case OpUnpause:
		if d.template != op.Hash {
			return errOutdated
		}
		w.watcher.unpausing(w, o)
		d.paused, d.held = false, false
	case OpHold:
		d.paused, d.held = true, true
	case OpRevert:
		stable := w.cache.set(o.Stable.Name)
		if stable == nil {
			return errOutdated
		}
		d.template, d.paused, d.held = stable.template, false, false
	}
	d.generation++
	d.version = w.next()
	w.cache.deployment = *d
	return nil
}
