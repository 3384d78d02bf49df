package cli

import (
	"context"
	"fmt"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sluice-mesh/sluice/api/v1alpha1"
)

func TestStatus(t *testing.T) {
	stalled := func(phase v1alpha1.Phase) func(*v1alpha1.Rollout) {
		return func(r *v1alpha1.Rollout) {
			r.Status.Phase = phase
			r.Status.Conditions = []metav1.Condition{{Type: v1alpha1.ConditionStalled, Status: metav1.ConditionTrue, Reason: v1alpha1.ReasonInvalid}}
		}
	}
	inPhase := func(phase v1alpha1.Phase) func(*v1alpha1.Rollout) {
		return func(r *v1alpha1.Rollout) { r.Status.Phase = phase }
	}
	for name, test := range map[string]struct {
		change           func(*v1alpha1.Rollout)
		deployment, held bool
		want             int
		says             string
	}{
		"healthy":                     {nil, true, false, ExitDone, "shop Healthy: shop:v1 has all traffic"},
		"a template held, unseen":     {nil, true, true, ExitInProgress, "a new template is held and its release has not begun yet"},
		"no deployment":               {nil, false, false, ExitStalled, "there is no Deployment shop"},
		"progressing":                 {progressing, true, true, ExitInProgress, "shop Progressing"},
		"starting":                    {inPhase(v1alpha1.PhaseStarting), true, true, ExitInProgress, "Starting"},
		"baking":                      {inPhase(v1alpha1.PhaseBaking), true, true, ExitInProgress, "Baking"},
		"promoting":                   {inPhase(v1alpha1.PhasePromoting), true, true, ExitInProgress, "Promoting"},
		"pending":                     {inPhase(v1alpha1.PhasePending), true, false, ExitInProgress, "Pending"},
		"not seen by an operator":     {states["unseen"], true, false, ExitInProgress, "Unknown"},
		"a phase of a newer operator": {states["newer"], true, false, ExitInProgress, "Levitating"},
		"rolling back":                {states["rolling back"], true, true, ExitRolledBack, "71.0 %"},
		"rolled back":                 {states["rolled back"], true, true, ExitRolledBack, "71.0 %"},
		"pending and stalled":         {stalled(v1alpha1.PhasePending), true, false, ExitStalled, "Pending"},
		"progressing and stalled":     {stalled(v1alpha1.PhaseProgressing), true, true, ExitStalled, "Progressing"},
		"healthy and stalled":         {stalled(v1alpha1.PhaseHealthy), true, false, ExitStalled, "Healthy"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.add(t, test.change)
			if test.deployment {
				w.addDeployment(t, "shop:v1", test.held)
			}
			code, out, problems := w.run(t, "status", "shop")
			if code != test.want || !strings.Contains(out, test.says) || problems != "" {
				t.Errorf("exit %d, %q, %q; want %d, %q", code, out, problems, test.want, test.says)
			}
		})
	}
}

// TestStatusWatch: each script is what the operator makes of the Rollout, one state after the other.
func TestStatusWatch(t *testing.T) {
	to := func(name string) func(*v1alpha1.Rollout) {
		return func(r *v1alpha1.Rollout) {
			next := rollout(states[name])
			r.Status = next.Status
			r.Status.ObservedGeneration = r.Generation
			for i := range r.Status.Conditions {
				r.Status.Conditions[i].LastTransitionTime = metav1.NewTime(noon)
			}
		}
	}
	for name, test := range map[string]struct {
		from   string
		script []string
		want   int
	}{
		"promoted":                    {"progressing", []string{"promoted"}, ExitDone},
		"rolled back":                 {"progressing", []string{"rolling back", "rolled back"}, ExitRolledBack},
		"already healthy":             {"healthy", nil, ExitDone},
		"already rolled back":         {"rolled back", nil, ExitRolledBack},
		"needs a person":              {"progressing", []string{"stalled"}, ExitStalled},
		"rolled back, then the next":  {"rolled back", []string{"next", "promoted"}, ExitDone},
		"rolling back at first":       {"rolling back", []string{"rolled back"}, ExitRolledBack},
		"stalled, then somebody acts": {"stalled", []string{"progressing", "promoted"}, ExitDone},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.add(t, states[test.from])
			w.addDeployment(t, "shop:v1", false)
			script := test.script
			env, out, problems := w.environment()
			if len(script) > 0 {
				env.settle = patience // it is cut short by what happens
			}
			// The operator writes the next state when the last one has been told.
			w.operate(t, func(r *v1alpha1.Rollout) bool {
				if len(script) == 0 || out.String() == "" {
					return false
				}
				if script[0] == "next" {
					to("progressing")(r)
					r.Status.Release.ID = "another-4"
				} else {
					to(script[0])(r)
				}
				script = script[1:]
				return true
			})
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			code := run(ctx, "sluice", []string{"status", "shop", "--watch"}, env)
			if code != test.want {
				t.Errorf("exit %d, want %d: %s%s", code, test.want, out, problems)
			}
			if len(script) != 0 {
				t.Errorf("did not wait for %v: %s", script, out)
			}
		})
	}
}

func TestStatusWatchGivesUp(t *testing.T) {
	w := newWorld(t)
	w.add(t, progressing)
	code, out, problems := w.run(t, "status", "shop", "--watch", "--timeout", "2s")
	if code != ExitInProgress || !strings.Contains(problems, "not ended in the time given") {
		t.Errorf("exit %d, %q, %q", code, out, problems)
	}
}

func TestGet(t *testing.T) {
	w := newWorld(t)
	if code, out, problems := w.run(t, "get"); code != ExitDone || out != "" || !strings.Contains(problems, "There are no Rollouts in namespace "+w.namespace) {
		t.Errorf("exit %d, %q, %q", code, out, problems)
	}
	w.add(t, progressing)
	for args, want := range map[string]string{
		"get":              "10%→50%",
		"get -A":           "NAMESPACE",
		"get -o wide":      "shop:v2,log:v7",
		"get -o yaml":      "kind: RolloutList",
		"get shop":         "canary 10%, asked for 50%",
		"get shop -o json": `"kind": "Rollout"`,
		"get shop -o yaml": "\nkind: Rollout\n",
		"get shop -o wide": "shop:v2,log:v7",
	} {
		code, out, problems := w.run(t, strings.Fields(args)...)
		if code != ExitDone || problems != "" || !strings.Contains(out, want) {
			t.Errorf("%s: exit %d, %q, %q; want %q", args, code, out, problems, want)
		}
		if strings.Contains(out, "managedFields") {
			t.Errorf("%s: %s", args, out)
		}
	}
	for args, want := range map[string]string{
		"get -o xml":              "it is one of wide, json, yaml",
		"get --watch":             "--watch needs the name of a Rollout",
		"get shop -A":             "exclude each other",
		"get shop --watch -oyaml": "exclude each other",
		"get shop till":           "accepts at most 1 arg(s)",
		"abort":                   "name one Rollout",
	} {
		if code, _, problems := w.run(t, strings.Fields(args)...); code != ExitError || !strings.Contains(problems, want) {
			t.Errorf("%s: exit %d, %q; want %q", args, code, problems, want)
		}
	}
}

func TestGetWatch(t *testing.T) {
	w := newWorld(t)
	w.add(t, progressing)
	env, out, _ := w.environment()
	told := func() int { return strings.Count(out.String(), "\n") }
	ctx, stop := context.WithTimeout(t.Context(), patience)
	defer stop()
	w.operate(t, func(r *v1alpha1.Rollout) bool {
		switch n := told(); {
		case n == 4:
			stop()
			return false
		case n == 0 || int(r.Status.Weight.Live) >= 10*(n+1):
			return false // the last one has not been told
		default:
			r.Status.Weight.Live = int32(10 * (n + 1))
			return true
		}
	})
	run(ctx, "sluice", []string{"get", "shop", "--watch"}, env)
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	if len(lines) != 4 {
		t.Fatalf("%d lines, want 4: %s", len(lines), out)
	}
	for i, line := range lines {
		want := fmt.Sprintf("2026-05-01T12:00:00Z shop Progressing weight=%d/50 step=%q lagging=2 weight 50: 2 proxies have not acknowledged it", 10*(i+1), "3/9 setWeight 50")
		if line != want {
			t.Errorf("line %d is %q, want %q", i, line, want)
		}
	}
}
