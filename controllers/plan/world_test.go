package plan

import (
	"cmp"
	"math/rand/v2"
	"slices"
	"strconv"
	"time"
)

// This file is the cluster of the simulation: a Deployment with its controller, ReplicaSets with theirs,
// pods and a Service. The Deployment controller follows Kubernetes 1.36 (pkg/controller/deployment:
// sync.go, rolling.go, util/deployment_util.go) with maxSurge 1 and maxUnavailable 0.

const surge = 1

// nature is how a template's pods behave.
type nature struct {
	startup time.Duration
	never   bool // its pods never become ready
	bad     bool // its requests fail
}

type owner int

const (
	nobody owner = iota
	byDeployment
	byHolder
)

type simDeployment struct {
	exists               bool
	uid, version         int
	generation, observed int
	labelled             bool
	replicas             int32
	template             string
	paused, held         bool
}

type simReplicaSet struct {
	name, hash, template string
	uid, version         int
	created              int
	replicas             int32
	owner                owner
	ownerUID             int
	baseline             bool  // byHolder, of stable's version
	desired, max         int32 // annotations; -1 is absent
	status               [3]int32
}

type simPod struct {
	set      int // UID of its ReplicaSet
	hash     string
	readyAt  time.Time // zero: never
	downTill time.Time
	goneAt   time.Time // zero: not terminating
	up       bool      // its readiness as last reported, which a cache may have from before
	upSince  time.Time
}

type simService struct {
	exists       bool
	uid, version int
	selects      bool
	narrowed     string
	canary       string // what the canary Service selects
}

// objects are what the operator reads through its cache.
type objects struct {
	deployment simDeployment
	sets       []simReplicaSet
	pods       []simPod
	runs       []simRun
	service    simService
	holder     bool
}

func (o *objects) copyTo(c *objects) {
	kept := *c
	*c = *o
	c.sets = append(kept.sets[:0], o.sets...) //nolint:gocritic // the copy's own memory is used again
	c.pods = append(kept.pods[:0], o.pods...) //nolint:gocritic // likewise
	c.runs = append(kept.runs[:0], o.runs...) //nolint:gocritic // likewise
}

func (o *objects) set(name string) *simReplicaSet {
	for i := range o.sets {
		if o.sets[i].name == name {
			return &o.sets[i]
		}
	}
	return nil
}

// counts are a ReplicaSet's pods: active ones, all, and ready ones.
func (o *objects) counts(uid int) (active, all, ready int32) {
	for i := range o.pods {
		p := &o.pods[i]
		if p.set != uid {
			continue
		}
		all++
		if p.goneAt.IsZero() {
			active++
			if p.ready() {
				ready++
			}
		}
	}
	return active, all, ready
}

func (p *simPod) ready() bool { return p.up && p.goneAt.IsZero() }

// kubelet reports which pods are ready.
func (c *cluster) kubelet() {
	for i := range c.pods {
		p := &c.pods[i]
		was := p.up
		if p.up = !p.readyAt.IsZero() && !c.now.Before(p.readyAt) && !c.now.Before(p.downTill); p.up && !was {
			p.upSince = c.now
		}
	}
}

// endpoints are the ready endpoints of a revision that the mesh knows.
func (o *objects) endpoints(hash string) int32 {
	if hash == "" {
		return 0
	}
	if !o.service.exists || o.service.canary != hash && (!o.service.selects || o.service.narrowed != "" && o.service.narrowed != hash) {
		return 0
	}
	n := int32(0)
	for i := range o.pods {
		if o.pods[i].hash == hash && o.pods[i].ready() {
			n++
		}
	}
	return n
}

// cluster is the real thing, as opposed to the operator's cache of it.
type cluster struct {
	objects
	now     time.Time
	rand    *rand.Rand
	serial  int
	natures map[string]nature
	policy  bool // the hold policy is installed
	// sickly: a baseline's pods never become ready.
	sickly bool
	// tell narrates; nil while nobody listens.
	tell func(format string, args ...any)
}

func (c *cluster) next() int { c.serial++; return c.serial }

func (c *cluster) say(format string, args ...any) {
	if c.tell != nil {
		c.tell(format, args...)
	}
}

// setTemplate is a person's or Git's write of spec.template, with the hold policy's mutation.
func (c *cluster) setTemplate(template string) {
	d := &c.deployment
	if !d.exists || d.template == template {
		return
	}
	d.template, d.version = template, c.next()
	d.generation++
	if c.policy && d.labelled {
		d.paused, d.held = true, true
	}
}

func (c *cluster) touch(rs *simReplicaSet) { rs.version = c.next() }

func (c *cluster) resize(rs *simReplicaSet, replicas int32) {
	if rs.replicas == replicas && rs.desired == c.deployment.replicas && rs.max == c.deployment.replicas+surge {
		return
	}
	if rs.replicas != replicas {
		c.say("the Deployment controller scales %s from %d to %d", rs.name, rs.replicas, replicas)
	}
	rs.replicas, rs.desired, rs.max = replicas, c.deployment.replicas, c.deployment.replicas+surge
	c.touch(rs)
}

// deploymentController does one sync.
func (c *cluster) deploymentController() {
	d := &c.deployment
	if !d.exists {
		return
	}
	if d.observed != d.generation {
		d.observed, d.version = d.generation, c.next()
	}
	var newSet *simReplicaSet
	var olds []*simReplicaSet
	slices.SortFunc(c.sets, func(a, b simReplicaSet) int { return cmp.Compare(a.created, b.created) })
	for i := range c.sets {
		rs := &c.sets[i]
		if rs.owner != byDeployment || rs.ownerUID != d.uid {
			continue
		}
		if newSet == nil && rs.template == d.template {
			newSet = rs // the oldest equal one
		} else {
			olds = append(olds, rs)
		}
	}
	if d.paused || c.scalingEvent(newSet, olds) {
		c.scale(newSet, olds)
		return
	}
	c.roll(newSet, olds)
}

func (c *cluster) scalingEvent(newSet *simReplicaSet, olds []*simReplicaSet) bool {
	for _, rs := range active(newSet, olds) {
		if rs.desired >= 0 && rs.desired != c.deployment.replicas {
			return true
		}
	}
	return false
}

func active(newSet *simReplicaSet, olds []*simReplicaSet) []*simReplicaSet {
	var out []*simReplicaSet
	for _, rs := range append(slices.Clone(olds), newSet) {
		if rs != nil && rs.replicas > 0 {
			out = append(out, rs)
		}
	}
	return out
}

func (c *cluster) saturated(rs *simReplicaSet) bool {
	if rs == nil {
		return false
	}
	_, _, ready := c.counts(rs.uid)
	n := c.deployment.replicas
	return rs.replicas == n && rs.desired == n && ready == n
}

func (c *cluster) scale(newSet *simReplicaSet, olds []*simReplicaSet) {
	n, running := c.deployment.replicas, active(newSet, olds)
	switch {
	case len(running) == 1:
		if running[0].replicas != n {
			c.resize(running[0], n)
		}
		return
	case len(running) == 0:
		latest := newSet
		if latest == nil && len(olds) > 0 {
			latest = olds[len(olds)-1]
		}
		if latest != nil && latest.replicas != n {
			c.resize(latest, n)
		}
		return
	case c.saturated(newSet):
		for _, rs := range olds {
			if rs.replicas > 0 {
				c.resize(rs, 0)
			}
		}
		return
	}
	total, allowed := int32(0), int32(0)
	for _, rs := range running {
		total += rs.replicas
	}
	if n > 0 {
		allowed = n + surge
	}
	add, added := allowed-total, int32(0)
	slices.SortFunc(running, func(a, b *simReplicaSet) int {
		if a.replicas != b.replicas {
			return cmp.Compare(b.replicas, a.replicas)
		}
		if add > 0 {
			return cmp.Compare(b.created, a.created)
		}
		return cmp.Compare(a.created, b.created)
	})
	sizes := make([]int32, len(running))
	for i, rs := range running {
		sizes[i] = rs.replicas
		if add != 0 && add != added {
			fraction := -rs.replicas
			if n != 0 {
				before := rs.max
				if before <= 0 {
					before = total
				}
				fraction = int32(float64(rs.replicas*(n+surge))/float64(before)+0.5) - rs.replicas
			}
			if add > 0 {
				fraction = min(fraction, add-added)
			} else {
				fraction = max(fraction, add-added)
			}
			sizes[i] += fraction
			added += fraction
		}
	}
	sizes[0] = max(0, sizes[0]+add-added)
	for i, rs := range running {
		c.resize(rs, sizes[i])
	}
}

func (c *cluster) roll(newSet *simReplicaSet, olds []*simReplicaSet) {
	d := &c.deployment
	total := int32(0)
	for _, rs := range active(newSet, olds) {
		total += rs.replicas
	}
	if newSet == nil {
		hash := "k" + d.template
		id := c.next()
		c.sets = append(c.sets, simReplicaSet{
			name: "web-" + hash + "-" + strconv.Itoa(id), hash: hash + "-" + strconv.Itoa(id), template: d.template, uid: id, version: id, created: id,
			replicas: min(d.replicas, max(0, d.replicas+surge-total)), owner: byDeployment, ownerUID: d.uid,
			desired: d.replicas, max: d.replicas + surge,
		})
		c.say("the Deployment controller creates %s with %d pods", c.sets[len(c.sets)-1].name, c.sets[len(c.sets)-1].replicas)
		return
	}
	if newSet.replicas != d.replicas {
		size := d.replicas
		if newSet.replicas < size {
			size = newSet.replicas + min(max(0, d.replicas+surge-total), d.replicas-newSet.replicas)
		}
		if size != newSet.replicas {
			c.resize(newSet, size)
			return
		}
	}
	_, _, available := c.counts(newSet.uid)
	mayGo := total - d.replicas - (newSet.replicas - available)
	for _, unhealthyFirst := range []bool{true, false} {
		for _, rs := range olds {
			_, _, ready := c.counts(rs.uid)
			gone := min(mayGo, rs.replicas-ready)
			if !unhealthyFirst {
				gone = min(mayGo, rs.replicas)
			}
			if gone > 0 {
				c.resize(rs, rs.replicas-gone)
				mayGo -= gone
			}
		}
	}
}

// replicaSetController brings pods in line with sizes, and the garbage collector takes what has no owner.
func (c *cluster) replicaSetController() {
	kept := c.pods[:0]
	for _, p := range c.pods {
		if p.goneAt.IsZero() && c.byUID(p.set) == nil {
			p.goneAt = c.now.Add(c.grace())
		}
		if p.goneAt.IsZero() || c.now.Before(p.goneAt) {
			kept = append(kept, p)
		}
	}
	if len(kept) != len(c.pods) {
		c.next() // the operator watches pods
	}
	c.pods = kept
	for i := range c.sets {
		rs := &c.sets[i]
		have, _, _ := c.counts(rs.uid)
		for ; have < rs.replicas; have++ {
			c.pods = append(c.pods, c.newPod(rs))
		}
		for _, readyToo := range []bool{false, true} {
			for j := range c.pods {
				p := &c.pods[j]
				if have > rs.replicas && p.set == rs.uid && p.goneAt.IsZero() && (readyToo || !p.ready()) {
					p.goneAt = c.now.Add(c.grace())
					have--
				}
			}
		}
	}
}

func (c *cluster) newPod(rs *simReplicaSet) simPod {
	n := c.natures[rs.template]
	p := simPod{set: rs.uid, hash: rs.hash}
	if !n.never && (!rs.baseline || !c.sickly) {
		p.readyAt = c.now.Add(n.startup)
	}
	return p
}

func (c *cluster) grace() time.Duration {
	return time.Duration(500+c.rand.IntN(2500)) * time.Millisecond
}

func (c *cluster) byUID(uid int) *simReplicaSet {
	for i := range c.sets {
		if c.sets[i].uid == uid {
			return &c.sets[i]
		}
	}
	return nil
}

func (c *cluster) removeSet(name string) {
	c.sets = slices.DeleteFunc(c.sets, func(rs simReplicaSet) bool { return rs.name == name })
}

// deleteDeployment takes everything it owns along.
func (c *cluster) deleteDeployment() {
	uid := c.deployment.uid
	c.deployment = simDeployment{}
	c.sets = slices.DeleteFunc(c.sets, func(rs simReplicaSet) bool { return rs.owner == byDeployment && rs.ownerUID == uid })
}
