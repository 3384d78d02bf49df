package harness

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-mesh/sluice/api/v1alpha1"
)

// NewRollout returns a Rollout for a Deployment and a Service of the same name, with durations short
// enough for a test: two weights, judged for three seconds each, and no warm-up, because the shop has no
// cold start. At least 99 % of requests must succeed; the comparison counts durations from two seconds only.
func NewRollout(name string, steps ...v1alpha1.Step) *v1alpha1.Rollout {
	if len(steps) == 0 {
		steps = []v1alpha1.Step{Weight(20), Weight(50)}
	}
	d := func(d time.Duration) *metav1.Duration { return &metav1.Duration{Duration: d} }
	return &v1alpha1.Rollout{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: v1alpha1.RolloutSpec{
			WorkloadRef: v1alpha1.WorkloadRef{APIVersion: "apps/v1", Kind: "Deployment", Name: name},
			Service:     v1alpha1.ServiceRef{Name: name},
			Canary:      v1alpha1.CanaryStrategy{Steps: steps},
			Analysis: v1alpha1.AnalysisSpec{
				Duration: d(3 * time.Second), Interval: d(500 * time.Millisecond), SuccessRate: "99", MinRequests: ptr.To[int32](20),
				// Pods that share two cores are slow in bursts, one revision's and not the other's.
				Compare: v1alpha1.CompareSpec{WarmUp: d(0), LatencyBoundaries: []metav1.Duration{{Duration: 2 * time.Second}}},
			},
			BakeTime: d(2 * time.Second),
			Deadlines: v1alpha1.Deadlines{
				Progress: d(time.Minute), Acknowledge: d(5 * time.Second), Analysis: d(20 * time.Second),
				Drain: d(3 * time.Second), Release: d(5 * time.Minute),
			},
		},
	}
}

// CompareOnly leaves the judgement to the comparison with stable as it is by default, without any threshold.
func CompareOnly(r *v1alpha1.Rollout) {
	r.Spec.Analysis.SuccessRate, r.Spec.Analysis.LatencyP99 = "", nil
	r.Spec.Analysis.Compare.LatencyBoundaries = nil
}

// Weight is a step that sets the weight.
func Weight(percent int32) v1alpha1.Step { return v1alpha1.Step{SetWeight: &percent} }

// Pause is a step that waits for somebody.
func Pause() v1alpha1.Step { return v1alpha1.Step{Pause: &v1alpha1.PauseStep{}} }

// Judge is a step that is judged for a while.
func Judge(d time.Duration) v1alpha1.Step {
	return v1alpha1.Step{Analysis: &v1alpha1.AnalysisStep{Duration: &metav1.Duration{Duration: d}}}
}

// Analyse is a step that runs templates, and is judged for a while.
func Analyse(d time.Duration, templates ...string) v1alpha1.Step {
	step := Judge(d)
	step.Analysis.AnalysisRef = Templates(templates...)
	return step
}

// Templates names analysis templates.
func Templates(names ...string) v1alpha1.AnalysisRef {
	var ref v1alpha1.AnalysisRef
	for _, name := range names {
		ref.Templates = append(ref.Templates, v1alpha1.TemplateRef{Name: name})
	}
	return ref
}

// FollowRollout records one Rollout.
func (s *Space) FollowRollout(ctx context.Context, name string) (*RolloutRecord, error) {
	r, err := Follow[*v1alpha1.Rollout](ctx, s.Client, &v1alpha1.RolloutList{}, client.InNamespace(s.Name), client.MatchingFields{"metadata.name": name})
	if err != nil {
		return nil, err
	}
	return &RolloutRecord{Record: r, name: name}, nil
}

// RolloutRecord is what one Rollout went through.
type RolloutRecord struct {
	*Record[*v1alpha1.Rollout]
	name string
}

// Latest returns the Rollout as it is, or nil when there is none.
func (r *RolloutRecord) Latest() *v1alpha1.Rollout {
	for _, o := range r.Current() {
		return o
	}
	return nil
}

// Until waits until the Rollout satisfies the condition and returns it.
func (r *RolloutRecord) Until(ctx context.Context, what string, condition func(*v1alpha1.Rollout) bool) (*v1alpha1.Rollout, error) {
	var found *v1alpha1.Rollout
	err := r.Await(ctx, what, func(all []*v1alpha1.Rollout) bool {
		i := slices.IndexFunc(all, condition)
		if i >= 0 {
			found = all[i]
		}
		return i >= 0
	})
	if err != nil {
		return nil, fmt.Errorf("rollout %s: %w; it is %s", r.name, err, Describe(r.Latest()))
	}
	return found, nil
}

// Healthy waits until no release is on and the newest template runs.
func (r *RolloutRecord) Healthy(ctx context.Context) (*v1alpha1.Rollout, error) {
	return r.Until(ctx, "rollout to be healthy", func(o *v1alpha1.Rollout) bool {
		return o.Status.ObservedGeneration == o.Generation && o.Status.Phase == v1alpha1.PhaseHealthy
	})
}

// Ended waits until the release of that attempt has ended, all its pods included, and returns the
// Rollout: Healthy or RolledBack.
func (r *RolloutRecord) Ended(ctx context.Context, attempt int64) (*v1alpha1.Rollout, error) {
	return r.Until(ctx, fmt.Sprintf("release %d to end", attempt), func(o *v1alpha1.Rollout) bool {
		release := o.Status.Release
		if release == nil || release.Attempt < attempt || release.EndedAt == nil {
			return false
		}
		return o.Status.Phase == v1alpha1.PhaseHealthy || o.Status.Phase == v1alpha1.PhaseRolledBack
	})
}

// Reaches waits until the weight was live in the release of that attempt, even for a moment.
func (r *RolloutRecord) Reaches(ctx context.Context, attempt int64, weight int32) (*v1alpha1.Rollout, error) {
	return r.Past(ctx, fmt.Sprintf("weight %d to be live in release %d", weight, attempt), func(o *v1alpha1.Rollout) bool {
		return Attempt(o) == attempt && o.Status.Weight.Desired == weight && o.Status.Weight.Live == weight
	})
}

// In waits until the Rollout was in the phase in the release of that attempt, even for a moment.
func (r *RolloutRecord) In(ctx context.Context, attempt int64, phase v1alpha1.Phase) (*v1alpha1.Rollout, error) {
	return r.Past(ctx, fmt.Sprintf("phase %s in release %d", phase, attempt), func(o *v1alpha1.Rollout) bool {
		return Attempt(o) == attempt && o.Status.Phase == phase
	})
}

// Past waits until a state of the Rollout since the recording began satisfied the condition.
func (r *RolloutRecord) Past(ctx context.Context, what string, condition func(*v1alpha1.Rollout) bool) (*v1alpha1.Rollout, error) {
	o, err := r.AwaitPast(ctx, what, condition)
	if err != nil {
		return nil, fmt.Errorf("rollout %s: %w; it is %s", r.name, err, Describe(r.Latest()))
	}
	return o, nil
}

// Attempt is the number of the release that is on, or the last one; 0 before the first.
func Attempt(o *v1alpha1.Rollout) int64 {
	if o == nil || o.Status.Release == nil {
		return 0
	}
	return o.Status.Release.Attempt
}

// Outcome is the last release's.
func Outcome(o *v1alpha1.Rollout) string {
	if o == nil || o.Status.Release == nil {
		return ""
	}
	return o.Status.Release.Outcome
}

// Stalled returns the reason and message for which a person must act; empty when nobody must.
func Stalled(o *v1alpha1.Rollout) (reason, message string) {
	c := meta.FindStatusCondition(o.Status.Conditions, v1alpha1.ConditionStalled)
	if c == nil || c.Status != metav1.ConditionTrue {
		return "", ""
	}
	return c.Reason, c.Message
}

// Describe is a Rollout's status in one line, for errors.
func Describe(o *v1alpha1.Rollout) string {
	if o == nil {
		return "not there"
	}
	s := o.Status
	var b strings.Builder
	fmt.Fprintf(&b, "%s, weight %d asked %d live (epoch %d)", s.Phase, s.Weight.Desired, s.Weight.Live, s.Weight.Epoch)
	if s.Step != nil {
		fmt.Fprintf(&b, ", step %s", s.Step.Display)
	}
	if s.Release != nil {
		fmt.Fprintf(&b, ", release %d %s", s.Release.Attempt, s.Release.Outcome)
	}
	if reason, message := Stalled(o); reason != "" {
		fmt.Fprintf(&b, ", stalled: %s: %s", reason, message)
	}
	fmt.Fprintf(&b, ": %s", s.Message)
	return b.String()
}

// Command gives the Rollout an order, as the command line does.
func (s *Space) Command(ctx context.Context, name string, verb v1alpha1.Verb) error {
	o := &v1alpha1.Rollout{}
	if err := s.Get(ctx, name, o); err != nil {
		return err
	}
	command := v1alpha1.Command{ID: fmt.Sprintf("e2e-%d", time.Now().UnixNano()), Verb: verb, By: "e2e"}
	if o.Status.Release != nil {
		command.Release = o.Status.Release.ID
	}
	if o.Status.Step != nil {
		command.Step = ptr.To(o.Status.Step.Index)
	}
	before := o.DeepCopy()
	if o.Annotations == nil {
		o.Annotations = map[string]string{}
	}
	o.Annotations[v1alpha1.AnnotationCommand] = command.String()
	if err := s.Client.Patch(ctx, o, client.MergeFrom(before)); err != nil {
		return fmt.Errorf("order %s: %w", verb, err)
	}
	return nil
}
