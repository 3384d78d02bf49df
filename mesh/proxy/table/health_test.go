package table

import (
	"testing"
	"time"

	"github.com/sluice-mesh/sluice/mesh/ir"
)

// ward is the members of a service with an outlier policy.
func ward(t *testing.T, o *ir.Outlier, last ...int) *members {
	t.Helper()
	s := shop(ir.Split{}, pods("v1", web, last...))
	s.Policy.Outlier = o
	return door(t, s).all.choices[0].group.members
}

// picked reports which of the members get requests.
func (m *members) picked(at time.Time) map[*Endpoint]bool {
	seen, random := map[*Endpoint]bool{}, seeded(1)
	for range 200 {
		seen[m.pick(random, nil, 0, false, at)] = true
	}
	return seen
}

func TestEjection(t *testing.T) {
	m := ward(t, &ir.Outlier{Consecutive: 3, Ejection: 10 * time.Second}, 1, 2, 3, 4)
	sick := m.endpoints[0]
	fail := func(at time.Time, outcomes ...Outcome) {
		for _, outcome := range outcomes {
			m.note(sick, outcome, at)
		}
	}
	expect := func(at time.Time, out bool, why string) {
		t.Helper()
		if got := !m.picked(at)[sick]; got != out {
			t.Errorf("%s: out %v, want %v", why, got, out)
		}
	}
	now := start
	fail(now, Failed, Unreached, Succeeded, Failed, Failed, Canceled)
	expect(now, false, "a success between failures")
	fail(now, Unreached)
	expect(now, true, "three failures in a row")
	expect(now.Add(10*time.Second-1), true, "just before its time is over")
	now = now.Add(10 * time.Second)
	expect(now, false, "when its time is over")
	fail(now, Failed, Failed)
	expect(now, false, "it begins anew")
	fail(now, Failed)
	expect(now.Add(19*time.Second), true, "the second time is twice as long")
	now = now.Add(20 * time.Second)
	expect(now, false, "after the second time")
	// One ejection is forgotten for each of the first one's length that it does well.
	now = now.Add(10 * time.Second)
	fail(now, Failed, Failed, Failed)
	expect(now.Add(19*time.Second), true, "the third counts as the second")
	now = now.Add(20 * time.Second)
	expect(now, false, "after the third time")
	for range 30 {
		fail(now, Failed, Failed, Failed)
		now = time.Unix(0, sick.ejected.Load())
	}
	fail(now, Failed, Failed, Failed)
	if got := time.Duration(sick.ejected.Load() - now.UnixNano()); got != 100*time.Second {
		t.Errorf("the longest ejection is %v, want ten times the first", got)
	}
	expect(now.Add(time.Hour), false, "in the end")
}

func TestEjectionsAreBounded(t *testing.T) {
	for _, c := range []struct {
		endpoints []int
		percent   uint32
		want      int
	}{
		{[]int{1}, 100, 0}, {[]int{1, 2}, 0, 1}, {[]int{1, 2, 3}, 0, 1}, {[]int{1, 2, 3, 4}, 0, 2}, {[]int{1, 2, 3, 4}, 1, 1}, {[]int{1, 2, 3, 4}, 75, 3}, {[]int{1, 2, 3}, 100, 3},
	} {
		m := ward(t, &ir.Outlier{Consecutive: 1, MaxPercent: c.percent}, c.endpoints...)
		for range 3 {
			for _, e := range m.endpoints {
				m.note(e, Failed, start)
			}
		}
		out := 0
		for _, e := range m.endpoints {
			if e.ejectedAt(start.UnixNano()) {
				out++
			}
		}
		if out != c.want {
			t.Errorf("%d endpoints at %d %%: %d out, want %d", len(c.endpoints), c.percent, out, c.want)
		}
	}
}

// Where too few are healthy, all are used.
func TestPanic(t *testing.T) {
	for _, c := range []struct {
		panics uint32
		failed int
		want   int
	}{{0, 2, 2}, {0, 3, 4}, {0, 4, 4}, {80, 1, 4}, {1, 3, 1}, {1, 4, 4}} {
		s := shop(ir.Split{}, pods("v1", web, 1, 2, 3, 4))
		s.Policy = ir.Policy{Outlier: &ir.Outlier{Consecutive: 1, MaxPercent: 100}, Balance: ir.Balance{Panic: c.panics}}
		m := door(t, s).all.choices[0].group.members
		for _, e := range m.endpoints[:c.failed] {
			m.note(e, Failed, start)
		}
		if got := len(m.picked(start)); got != c.want {
			t.Errorf("panic %d, %d failed: %d are used, want %d", c.panics, c.failed, got, c.want)
		}
	}
}

// Without a policy nothing is ejected, and a policy that goes takes its ejections with it.
func TestEjectionIsOffByDefault(t *testing.T) {
	c := newCompiler(pools{})
	s := shop(ir.Split{}, pods("v1", web, 1, 2))
	s.Policy.Outlier = &ir.Outlier{Consecutive: 1}
	first := compile(t, c, nil, s)
	m := first.services[0].ports[0].all.choices[0].group.members
	m.note(m.endpoints[0], Failed, start)
	if len(m.picked(start)) != 1 {
		t.Error("not ejected")
	}
	s.Policy.Outlier = nil
	m = compile(t, c, first, s).services[0].ports[0].all.choices[0].group.members
	for range 10 {
		m.note(m.endpoints[1], Failed, start)
	}
	if len(m.picked(start)) != 2 {
		t.Error("ejected without a policy")
	}
}

// Health outlives a change of configuration.
func TestEjectionSurvivesASwap(t *testing.T) {
	c := newCompiler(pools{})
	s := shop(ir.Split{}, pods("v1", web, 1, 2, 3))
	s.Policy.Outlier = &ir.Outlier{Consecutive: 1}
	first := compile(t, c, nil, s)
	m := first.services[0].ports[0].all.choices[0].group.members
	m.note(m.endpoints[0], Failed, start)
	s.Subsets = []ir.Subset{pods("v1", web, 1, 2, 3, 4)}
	m = compile(t, c, first, s).services[0].ports[0].all.choices[0].group.members
	if got := len(m.picked(start)); got != 3 {
		t.Errorf("%d of 4 are used, want 3", got)
	}
}
