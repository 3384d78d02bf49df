package cli

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/sluice-mesh/sluice/api/v1alpha1"
)

var update = flag.Bool("update", false, "write the golden files anew")

var noon = time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)

func before(d time.Duration) metav1.MicroTime { return metav1.NewMicroTime(noon.Add(-d)) }

func lasting(d time.Duration) *metav1.Duration { return &metav1.Duration{Duration: d} }

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", strings.ReplaceAll(name, " ", "-")+".txt")
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("differs from %s (-want +got), -update writes it anew:\n%s", path, diff)
	}
}

func rollout(change func(*v1alpha1.Rollout)) *v1alpha1.Rollout {
	r := &v1alpha1.Rollout{
		ObjectMeta: metav1.ObjectMeta{Namespace: "demo", Name: "shop", CreationTimestamp: metav1.NewTime(noon.Add(-48 * time.Hour))},
		Spec: v1alpha1.RolloutSpec{
			WorkloadRef: v1alpha1.WorkloadRef{Name: "shop"},
			Service:     v1alpha1.ServiceRef{Name: "shop"},
			Canary: v1alpha1.CanaryStrategy{Steps: []v1alpha1.Step{
				{SetWeight: ptr.To[int32](10)},
				{Pause: &v1alpha1.PauseStep{Duration: lasting(90 * time.Second)}},
				{SetWeight: ptr.To[int32](50)},
				{Analysis: &v1alpha1.AnalysisStep{Duration: lasting(5 * time.Minute)}},
				{Analysis: &v1alpha1.AnalysisStep{}},
				{Pause: &v1alpha1.PauseStep{}},
				{Approval: &v1alpha1.ApprovalStep{Message: "does the till still open?"}},
				{Approval: &v1alpha1.ApprovalStep{}},
				{}, // of a version that this program does not know
			}},
		},
		Status: v1alpha1.RolloutStatus{
			Phase:      v1alpha1.PhaseHealthy,
			Message:    "shop:v1 has all traffic",
			Stable:     &v1alpha1.Revision{Hash: "5d97989fcc", ReplicaSet: "shop-5d97989fcc", Images: []string{"shop:v1"}, Replicas: 4, Ready: 4},
			Conditions: []metav1.Condition{{Type: v1alpha1.ConditionReady, Status: metav1.ConditionTrue, Reason: v1alpha1.ReasonHealthy}},
		},
	}
	if change != nil {
		change(r)
	}
	return r
}

func progressing(r *v1alpha1.Rollout) {
	s := &r.Status
	s.Phase, s.Message = v1alpha1.PhaseProgressing, "weight 50: 2 proxies have not acknowledged it"
	s.Canary = &v1alpha1.Revision{Hash: "7f6d8c9b44", ReplicaSet: "shop-7f6d8c9b44", Images: []string{"shop:v2", "log:v7"}, Replicas: 2, Ready: 1}
	s.Release = &v1alpha1.Release{ID: "bcdfghjklm-3", Attempt: 3, StartedAt: before(252 * time.Second), PhaseSince: before(4 * time.Minute)}
	s.Step = &v1alpha1.StepStatus{Index: 2, Display: "3/9 setWeight 50", Since: ptr.To(before(31 * time.Second))}
	s.Weight = v1alpha1.WeightStatus{Desired: 50, Live: 10, Epoch: 12, Lagging: []string{"load-7c9-abcde.demo", "web-1.shopfront"}}
	s.Verdicts = []v1alpha1.Verdict{
		{Outcome: v1alpha1.VerdictInconclusive, Reason: "12 requests, 50 are needed", Weight: 10, At: before(45 * time.Second)},
		{Outcome: v1alpha1.VerdictPass, Reason: "99.8 % of 1230 requests succeeded", Weight: 10, At: before(2 * time.Minute)},
		{Outcome: v1alpha1.VerdictFail, Reason: "71.0 % of 100 requests succeeded", Weight: 10, At: before(2 * time.Hour)},
	}
	s.Conditions = []metav1.Condition{{Type: v1alpha1.ConditionReady, Status: metav1.ConditionFalse, Reason: v1alpha1.ReasonReleasing}}
}

var states = map[string]func(*v1alpha1.Rollout){
	"healthy":     nil,
	"progressing": progressing,
	"judged": func(r *v1alpha1.Rollout) {
		progressing(r)
		r.Spec.Canary.Steps[4].Analysis.Templates = []v1alpha1.TemplateRef{{Name: "orders"}, {Name: "till", ClusterScope: true}}
		r.Status.Verdicts = []v1alpha1.Verdict{
			{Outcome: v1alpha1.VerdictPass, Reason: "canary errors 1.2 % against 0.9 %: 1.3 times as many after 60 s", Weight: 50, At: before(time.Second), Score: ptr.To[int32](94), Metrics: []v1alpha1.MetricVerdict{
				{Name: "success-rate", Canary: "12/1000", Control: "9/1000", Ratio: "1.33", Low: "0.41", High: "4.70", P: "0.7712", Score: ptr.To[int32](92), Critical: true},
				{Name: "latency", Canary: "0/1000", Control: "0/1000", Low: "0.00", P: "1.0000", Score: ptr.To[int32](100)},
			}},
			{Outcome: v1alpha1.VerdictPass, Reason: "as good as stable", Weight: 10, At: before(time.Minute), Score: ptr.To[int32](100), Metrics: []v1alpha1.MetricVerdict{{Name: "latency"}}},
		}
		r.Status.Analyses = []v1alpha1.AnalysisStatus{
			{Stage: "background", Run: "shop-3-background", Phase: v1alpha1.RunRunning},
			{Stage: "step-1", Run: "shop-3-step-1", Phase: v1alpha1.RunSuccessful},
			{Stage: "before-promotion", Phase: v1alpha1.RunPending},
			{Stage: "after-promotion", Run: "shop-3-after-promotion", Phase: v1alpha1.RunFailed, Message: "metric orders: 3 measurements failed, 0 may"},
		}
	},
	"baseline": func(r *v1alpha1.Rollout) {
		progressing(r)
		r.Status.Baseline = &v1alpha1.Revision{Hash: "5d97989fcc-baseline", ReplicaSet: "shop-5d97989fcc-baseline", Images: []string{"shop:v1"}, Replicas: 1, Ready: 1}
		r.Status.Weight.Baseline = 25
	},
	"approval": func(r *v1alpha1.Rollout) {
		progressing(r)
		r.Status.Message = "waits for approval"
		r.Status.Step = &v1alpha1.StepStatus{Index: 6, Display: "7/9 approval", Since: ptr.To(before(time.Hour)), ApprovedBy: "jane"}
		r.Status.Weight = v1alpha1.WeightStatus{Desired: 50, Live: 50, Epoch: 12}
		r.Status.Paused = &v1alpha1.PausedStatus{By: "jane", Since: before(90 * time.Second)}
		r.Status.Verdicts = nil
		r.Status.LastCommand = &v1alpha1.CommandStatus{ID: "1", Verb: v1alpha1.VerbApprove, By: "jane", Accepted: true, Message: "approved by jane", At: before(time.Minute)}
	},
	"inconclusive": func(r *v1alpha1.Rollout) {
		progressing(r)
		r.Status.Weight = v1alpha1.WeightStatus{Desired: 50, Live: 50, Epoch: 12}
		r.Status.Step.InconclusiveSince = ptr.To(before(time.Second))
	},
	"rolling back": func(r *v1alpha1.Rollout) {
		progressing(r)
		r.Status.Phase, r.Status.Message = v1alpha1.PhaseRollingBack, "71.0 % of 100 requests succeeded, 99 % are demanded"
		r.Status.Weight = v1alpha1.WeightStatus{Desired: 0, Live: 50, Epoch: 13}
	},
	"rolled back": func(r *v1alpha1.Rollout) {
		progressing(r)
		r.Status.Phase, r.Status.Message = v1alpha1.PhaseRolledBack, "71.0 % of 100 requests succeeded, 99 % are demanded"
		r.Status.Release.EndedAt, r.Status.Release.Outcome = ptr.To(before(10*time.Second)), v1alpha1.OutcomeRolledBack
		r.Status.Weight = v1alpha1.WeightStatus{Epoch: 13}
		r.Status.LastCommand = &v1alpha1.CommandStatus{ID: "1", Verb: v1alpha1.VerbPromote, Accepted: false, Message: "promote refused: the release was rolled back", At: before(time.Second)}
	},
	"promoted": func(r *v1alpha1.Rollout) {
		r.Status.Release = &v1alpha1.Release{ID: "bcdfghjklm-3", StartedAt: before(10 * time.Minute), PhaseSince: before(time.Minute), EndedAt: ptr.To(before(time.Minute)), Outcome: v1alpha1.OutcomePromoted, ExpeditedBy: "jane"}
	},
	"stalled": func(r *v1alpha1.Rollout) {
		r.Status = v1alpha1.RolloutStatus{Phase: v1alpha1.PhasePending, Message: "cannot act", Conditions: []metav1.Condition{
			{Type: v1alpha1.ConditionStalled, Status: metav1.ConditionTrue, Reason: v1alpha1.ReasonServiceMissing, Message: "spec.service.name: there is no Service shop; create it"},
		}}
	},
	"unseen": func(r *v1alpha1.Rollout) { r.Status = v1alpha1.RolloutStatus{} },
	"newer":  func(r *v1alpha1.Rollout) { r.Status.Phase = "Levitating" },
}

func TestTree(t *testing.T) {
	for name, change := range states {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			tree(&out, rollout(change), noon, style{})
			golden(t, "tree "+name, out.String())
			if strings.Contains(out.String(), "\x1b") {
				t.Error("colours where there is no terminal")
			}
		})
	}
	t.Run("colour", func(t *testing.T) {
		var out bytes.Buffer
		tree(&out, rollout(progressing), noon, style{colour: true})
		golden(t, "tree colour", strings.ReplaceAll(out.String(), "\x1b", "ESC"))
	})
}

func TestTable(t *testing.T) {
	other := rollout(progressing)
	other.Namespace, other.Name = "till", "register"
	rollouts := []v1alpha1.Rollout{*rollout(nil), *other, *rollout(states["unseen"])}
	for name, test := range map[string]struct{ wide, namespaces bool }{
		"table": {}, "table wide": {true, false}, "table all": {false, true},
	} {
		var out bytes.Buffer
		if err := table(&out, rollouts, noon, test.wide, test.namespaces); err != nil {
			t.Fatal(err)
		}
		golden(t, name, out.String())
	}
}

func TestRedrawGoesBackOverWhatItDrew(t *testing.T) {
	var out bytes.Buffer
	lines := redraw(&out, rollout(progressing), noon, style{}, 0)
	var plain bytes.Buffer
	tree(&plain, rollout(progressing), noon, style{})
	if want := strings.Count(plain.String(), "\n"); lines != want {
		t.Errorf("%d lines, want %d", lines, want)
	}
	if strings.Contains(out.String(), "A\x1b[J") {
		t.Error("the first drawing goes back")
	}
	out.Reset()
	redraw(&out, rollout(nil), noon, style{}, lines)
	if want := fmt.Sprintf("\x1b[%dA\x1b[J", lines); !strings.HasPrefix(out.String(), want) {
		t.Errorf("the second drawing begins with %q, want %q", out.String()[:10], want)
	}
}

func TestBarNeverLies(t *testing.T) {
	for live := int32(-5); live <= 110; live += 5 {
		for desired := int32(-5); desired <= 110; desired += 5 {
			var out bytes.Buffer
			(&branches{Writer: &out}).weight(rollout(func(r *v1alpha1.Rollout) {
				r.Status.Weight = v1alpha1.WeightStatus{Desired: desired, Live: live}
			}))
			blocks := 0
			for _, r := range out.String() {
				if strings.ContainsRune("█▒▓░", r) {
					blocks++
				}
			}
			if blocks != barWidth {
				t.Fatalf("live %d, desired %d: %d blocks, want %d", live, desired, blocks, barWidth)
			}
		}
	}
}

func TestStyleOfNoTerminal(t *testing.T) {
	file, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if got := styleOf(file); got != (style{}) {
		t.Errorf("a file has style %+v", got)
	}
	if got := styleOf(&bytes.Buffer{}); got != (style{}) {
		t.Errorf("a buffer has style %+v", got)
	}
}
