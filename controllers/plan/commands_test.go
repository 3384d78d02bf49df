package plan

import (
	"strings"
	"testing"

	"github.com/sluice-mesh/sluice/api/v1alpha1"
)

func TestCommands(t *testing.T) {
	step := func(n int32) *int32 { return &n }
	approving := releaseFixture(progress, 5, 50)
	paused := releaseFixture(progress, 4, 50)
	paused.Status.Paused = &v1alpha1.PausedStatus{By: "bob"}
	handed := releaseFixture(promotePhase, 6, 100)
	handed.Canary.Owned, handed.Canary.Ours = true, false
	tests := map[string]struct {
		given   Observed
		command v1alpha1.Command
		refused string // a part of the sentence; "" when it is accepted
		phase   v1alpha1.Phase
		notice  NoticeKind
	}{
		"promote":                          {releaseFixture(progress, 2, 20), v1alpha1.Command{Verb: v1alpha1.VerbPromote}, "", progress, ""},
		"promote while starting":           {releaseFixture(startPhase, 0, 0), v1alpha1.Command{Verb: v1alpha1.VerbPromote}, "", startPhase, ""},
		"promote what is promoted":         {releaseFixture(promotePhase, 6, 100), v1alpha1.Command{Verb: v1alpha1.VerbPromote}, "already", promotePhase, ""},
		"promote nothing":                  {healthyFixture(), v1alpha1.Command{Verb: v1alpha1.VerbPromote}, "no release", healthyPhase, ""},
		"promote what was rolled back":     {rolledBackFixture(), v1alpha1.Command{Verb: v1alpha1.VerbPromote}, "retry", backedPhase, ""},
		"abort":                            {releaseFixture(bakePhase, 6, 100), v1alpha1.Command{Verb: v1alpha1.VerbAbort}, "", backPhase, NoticeRollingBack},
		"abort before the handover":        {releaseFixture(promotePhase, 6, 100), v1alpha1.Command{Verb: v1alpha1.VerbAbort}, "", backPhase, NoticeRollingBack},
		"abort after the handover":         {handed, v1alpha1.Command{Verb: v1alpha1.VerbAbort}, "already handed", promotePhase, ""},
		"abort twice":                      {releaseFixture(backPhase, 0, 0), v1alpha1.Command{Verb: v1alpha1.VerbAbort}, "already being rolled back", backPhase, ""},
		"abort nothing":                    {healthyFixture(), v1alpha1.Command{Verb: v1alpha1.VerbAbort}, "no release", healthyPhase, ""},
		"of another release":               {releaseFixture(progress, 2, 20), v1alpha1.Command{Verb: v1alpha1.VerbAbort, Release: "a-9"}, "is over", progress, ""},
		"approve":                          {approving, v1alpha1.Command{Verb: v1alpha1.VerbApprove, Release: "b-1", Step: step(5)}, "", progress, NoticeApproved},
		"approve another step":             {approving, v1alpha1.Command{Verb: v1alpha1.VerbApprove, Step: step(2)}, "step 3 is not", progress, ""},
		"approve where nobody asked":       {releaseFixture(progress, 4, 50), v1alpha1.Command{Verb: v1alpha1.VerbApprove}, "needs no approval", progress, ""},
		"approve while starting":           {releaseFixture(startPhase, 0, 0), v1alpha1.Command{Verb: v1alpha1.VerbApprove}, "no step waits", progress, ""},
		"reject":                           {approving, v1alpha1.Command{Verb: v1alpha1.VerbReject, Step: step(5)}, "", backPhase, NoticeRollingBack},
		"retry":                            {rolledBackFixture(), v1alpha1.Command{Verb: v1alpha1.VerbRetry}, "", startPhase, NoticeStarted},
		"retry what is on":                 {releaseFixture(progress, 2, 20), v1alpha1.Command{Verb: v1alpha1.VerbRetry}, "no rolled back", progress, ""},
		"pause":                            {releaseFixture(progress, 4, 50), v1alpha1.Command{Verb: v1alpha1.VerbPause}, "", progress, NoticePaused},
		"pause twice":                      {paused, v1alpha1.Command{Verb: v1alpha1.VerbPause}, "already paused by bob", progress, ""},
		"resume":                           {paused, v1alpha1.Command{Verb: v1alpha1.VerbResume}, "", progress, NoticeResumed},
		"resume a pause step":              {releaseFixture(progress, 2, 20), v1alpha1.Command{Verb: v1alpha1.VerbResume, Step: step(2)}, "", progress, NoticeResumed},
		"resume a pause step that is over": {releaseFixture(progress, 4, 50), v1alpha1.Command{Verb: v1alpha1.VerbResume, Step: step(2)}, "nothing is paused", progress, ""},
		"resume a timed pause":             {releaseFixture(progress, 4, 50), v1alpha1.Command{Verb: v1alpha1.VerbResume}, "does not wait", progress, ""},
		"dance":                            {releaseFixture(progress, 4, 50), v1alpha1.Command{Verb: "dance"}, "no verb", progress, ""},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			o := test.given
			o.Status = *o.Status.DeepCopy()
			test.command.ID, test.command.By = "1", "ada"
			o.Command = &test.command
			d := Next(o, now)
			last := d.Status.LastCommand
			if last == nil || last.ID != "1" || last.By != "ada" || last.Message == "" {
				t.Fatalf("last command %+v", last)
			}
			if last.Accepted != (test.refused == "") || !strings.Contains(last.Message, test.refused) {
				t.Errorf("accepted %v: %q, want refusal %q", last.Accepted, last.Message, test.refused)
			}
			if d.Status.Phase != test.phase {
				t.Errorf("phase %s, want %s", d.Status.Phase, test.phase)
			}
			told := false
			for _, n := range d.Notices {
				told = told || n.Kind == test.notice
			}
			if test.notice != "" && !told {
				t.Errorf("notices %v, want %s", d.Notices, test.notice)
			}
			again := o
			again.Status = d.Status
			if second := Next(again, now); second.Status.LastCommand.At != last.At {
				t.Error("the command was acted on twice")
			}
		})
	}
}

// A retry is judged from the first step: nothing of the last attempt counts.
func TestRetryStartsOver(t *testing.T) {
	o := rolledBackFixture()
	o.Status.Verdicts = []v1alpha1.Verdict{{Outcome: v1alpha1.VerdictFail, Epoch: 7}}
	o.Command = &v1alpha1.Command{ID: "1", Verb: v1alpha1.VerbRetry, By: "ada"}
	s := Next(o, now).Status
	if s.Release.ID != "b-2" || s.Release.Attempt != 2 || s.Release.Reason != "" || s.Step.Index != 0 || len(s.Verdicts) != 0 || s.Weight.Epoch != 8 {
		t.Errorf("release %+v, step %+v, verdicts %v, weight %+v", s.Release, s.Step, s.Verdicts, s.Weight)
	}
}
