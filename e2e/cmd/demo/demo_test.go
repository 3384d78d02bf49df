package main

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/google/go-cmp/cmp"

	"github.com/sluice-mesh/sluice/api/v1alpha1"
	"github.com/sluice-mesh/sluice/e2e/load/ledger"
)

var start = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func at(d time.Duration) *metav1.MicroTime { return &metav1.MicroTime{Time: start.Add(d)} }

// rollback is a release that fails at weight 10, state by state.
func rollback() []*v1alpha1.Rollout {
	release := &v1alpha1.Release{Attempt: 2}
	ended := &v1alpha1.Release{Attempt: 2, EndedAt: at(9 * time.Second), Outcome: v1alpha1.OutcomeRolledBack, Reason: "after 4 s: 6 of 12"}
	fail := []v1alpha1.Verdict{{Outcome: v1alpha1.VerdictFail, Reason: "6 of 12", Weight: 10, Epoch: 4}}
	states := []v1alpha1.RolloutStatus{
		{Phase: v1alpha1.PhaseHealthy, Release: &v1alpha1.Release{Attempt: 1, EndedAt: at(0)}, Weight: v1alpha1.WeightStatus{Epoch: 3}},
		{Phase: v1alpha1.PhaseStarting, Message: "starting 1 pod", Release: release, Weight: v1alpha1.WeightStatus{Epoch: 3}},
		{Phase: v1alpha1.PhaseProgressing, Message: "asking", Release: release, Step: &v1alpha1.StepStatus{Display: "1/3 setWeight 10"},
			Weight: v1alpha1.WeightStatus{Epoch: 4, Desired: 10, DecidedAt: at(time.Second)}},
		{Phase: v1alpha1.PhaseProgressing, Message: "judging", Release: release, Step: &v1alpha1.StepStatus{Display: "1/3 setWeight 10"},
			Weight: v1alpha1.WeightStatus{Epoch: 4, Desired: 10, Live: 10, DecidedAt: at(time.Second), LiveAt: at(1040 * time.Millisecond)}},
		{Phase: v1alpha1.PhaseRollingBack, Message: "6 of 12", Release: release, Verdicts: fail,
			Weight: v1alpha1.WeightStatus{Epoch: 5, Live: 10, DecidedAt: at(3 * time.Second)}},
		{Phase: v1alpha1.PhaseRollingBack, Message: "draining", Release: release, Verdicts: fail,
			Weight: v1alpha1.WeightStatus{Epoch: 5, DecidedAt: at(3 * time.Second), LiveAt: at(3030 * time.Millisecond)}},
		{Phase: v1alpha1.PhaseRolledBack, Message: "held", Release: ended, Verdicts: fail,
			Weight: v1alpha1.WeightStatus{Epoch: 5, DecidedAt: at(3 * time.Second), LiveAt: at(3030 * time.Millisecond)}},
	}
	var all []*v1alpha1.Rollout
	for _, s := range states {
		all = append(all, &v1alpha1.Rollout{Status: s})
	}
	return all
}

func TestNarrator(t *testing.T) {
	n := &narrator{attempt: 2, version: "v3"}
	var got []string
	for _, o := range rollback() {
		for range 2 { // a state that is seen again says nothing new
			for _, e := range n.tell(o) {
				got = append(got, e.Kind+": "+e.Text)
			}
		}
	}
	want := []string{
		"phase: Starting: starting 1 pod",
		"phase: Progressing: asking",
		"step: 1/3 setWeight 10",
		"weight: asked for 10 %",
		"weight: 10 % is live on every proxy after 40 ms",
		"judge: fail at 10 %: 6 of 12",
		"phase: RollingBack",
		"weight: asked for 0 %",
		"weight: 0 % is live on every proxy after 30 ms",
		"phase: RolledBack: held",
		"outcome: rolled back",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if !n.ended || !n.zeroLive.Equal(start.Add(3030*time.Millisecond)) {
		t.Errorf("ended %v, weight 0 live at %v", n.ended, n.zeroLive)
	}
}

func TestResult(t *testing.T) {
	states := rollback()
	first := start.Add(1500 * time.Millisecond)
	seen := ledger.Tally{Done: 800, Lost: 1, Reasons: map[string]uint64{"reset": 1}, Versions: map[string]ledger.Version{"v3": {Requests: 20, Bad: 9, FirstBad: &first}}}
	r := newResult(acts[1], states[len(states)-1], start, start.Add(3030*time.Millisecond), seen)
	if r.Duration != 9 || r.Served != 799 || r.Failed != 1 || r.Bad != 9 || r.ToZero != 1.53 || r.Outcome != v1alpha1.OutcomeRolledBack {
		t.Errorf("got %+v", r)
	}
	clean := []result{
		{Version: "v2", Want: v1alpha1.OutcomePromoted, Outcome: v1alpha1.OutcomePromoted},
		{Version: "v3", Want: v1alpha1.OutcomeRolledBack, Outcome: v1alpha1.OutcomeRolledBack, Bad: 1},
		{Version: "v4", Want: v1alpha1.OutcomeRolledBack, Outcome: v1alpha1.OutcomeRolledBack, Bad: 1},
	}
	if problems := judge(clean); len(problems) != 0 {
		t.Errorf("problems: %v", problems)
	}
	tests := map[string]func([]result) []result{
		"outcome": func(r []result) []result { r[1].Outcome = v1alpha1.OutcomePromoted; return r },
		"failed":  func(r []result) []result { r[0].Failed = 1; return r },
		"unseen":  func(r []result) []result { r[2].Bad = 0; return r },
		"missing": func(r []result) []result { return r[:2] },
	}
	for name, spoil := range tests {
		t.Run(name, func(t *testing.T) {
			if problems := judge(spoil(append([]result{}, clean...))); len(problems) != 1 {
				t.Errorf("problems: %v, want one", problems)
			}
		})
	}
}

func TestScreen(t *testing.T) {
	var out bytes.Buffer
	s := &screen{out: &out, encoder: json.NewEncoder(&out)}
	s.title("%s", "v2")
	s.event(event{At: start, Kind: "weight", Text: "asked for 10 %", tone: good})
	s.traffic(map[string]float64{"v1": 70.2, "v2": 9.8}, "Progressing")
	s.traffic(map[string]float64{"v1": 70.2, "v2": 9.8}, "Progressing") // too soon to be told again
	s.finish([]result{{Version: "v2", What: "is good", Outcome: "Promoted", Duration: 30, ToZero: -1}}, nil, []string{"make down"})
	text := out.String()
	for _, want := range []string{"03:04:05.0  weight   asked for 10 %\n", "v1 70/s  v2 10/s", "v2 (is good)", "make down"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in:\n%s", want, text)
		}
	}
	if strings.Contains(text, "\x1b") || strings.Count(text, "70/s") != 1 {
		t.Errorf("escape sequences, or traffic more than once, in:\n%q", text)
	}

	out.Reset()
	s.json = true
	s.say("setup", "installing")
	s.finish(nil, []string{"p"}, nil)
	for line := range strings.Lines(out.String()) {
		if !json.Valid([]byte(line)) {
			t.Errorf("not JSON: %s", line)
		}
	}
}
