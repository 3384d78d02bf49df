package runs

import (
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/sluice-mesh/sluice/analysis/check"
	"github.com/sluice-mesh/sluice/api/v1alpha1"
)

var zero = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// story follows one run through turns, as the reconciler does: each status is what the next turn begins with.
type story struct {
	*testing.T
	run  *v1alpha1.AnalysisRun
	jobs map[string]jobState
	now  time.Time
	turn turn
}

func tell(t *testing.T, metrics string) *story {
	t.Helper()
	var spec v1alpha1.AnalysisRunSpec
	if err := yaml.UnmarshalStrict([]byte("{metrics: "+metrics+"}"), &spec); err != nil {
		t.Fatal(err)
	}
	run := &v1alpha1.AnalysisRun{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "run"}, Spec: spec}
	return &story{T: t, run: run, jobs: map[string]jobState{}, now: zero}
}

// after lets time pass and takes a turn with what has arrived. The status goes through JSON, as it does
// in the cluster.
func (s *story) after(d time.Duration, news arrived) *story {
	s.Helper()
	s.now = s.now.Add(d)
	for name, m := range news {
		m.StartedAt, m.FinishedAt = s.now, s.now
		news[name] = m
	}
	s.turn = next(s.run, news, s.jobs, s.now)
	raw, err := yaml.Marshal(s.turn.status)
	if err != nil {
		s.Fatal(err)
	}
	s.run.Status = v1alpha1.AnalysisRunStatus{}
	if err := yaml.UnmarshalStrict(raw, &s.run.Status); err != nil {
		s.Fatal(err)
	}
	return s
}

func (s *story) phase(want v1alpha1.RunPhase, message string) *story {
	s.Helper()
	status := s.run.Status
	if status.Phase != want || !strings.Contains(status.Message, message) {
		s.Errorf("the run is %s (%s), want %s (%s)", status.Phase, status.Message, want, message)
	}
	if want.Ended() != (status.CompletedAt != nil) {
		s.Errorf("in phase %s completedAt is %v", want, status.CompletedAt)
	}
	return s
}

// due says which metrics are to be measured now, and when there is something to do again.
func (s *story) due(want []int, requeue time.Duration) *story {
	s.Helper()
	if !slices.Equal(s.turn.measure, want) || s.turn.requeue != requeue {
		s.Errorf("due are %v, and again in %s; want %v and %s", s.turn.measure, s.turn.requeue, want, requeue)
	}
	return s
}

var (
	good = check.Measurement{Phase: check.Successful, Value: "1"}
	bad  = check.Measurement{Phase: check.Failed, Value: "0", Message: "0 does not meet"}
	odd  = check.Measurement{Phase: check.Error, Message: "no answer"}
)

const (
	once  = "{name: once, successCondition: 'true', provider: {prometheus: {query: up}}}"
	twice = "{name: twice, interval: 10s, count: 2, successCondition: 'true', provider: {prometheus: {query: up}}}"
	ever  = "{name: ever, interval: 10s, successCondition: 'true', provider: {prometheus: {query: up}}}"
)

func TestNext(t *testing.T) {
	t.Run("all succeed", func(t *testing.T) {
		s := tell(t, "["+once+", "+twice+"]")
		s.after(0, nil).phase(v1alpha1.RunRunning, "").due([]int{0, 1}, 0)
		s.after(time.Second, arrived{"once": good}).phase(v1alpha1.RunRunning, "").due([]int{1}, 0)
		s.after(time.Second, arrived{"twice": good}).phase(v1alpha1.RunRunning, "").due(nil, 10*time.Second)
		s.after(4*time.Second, nil).due(nil, 6*time.Second)
		s.after(6*time.Second, nil).due([]int{1}, 0)
		s.after(time.Second, arrived{"twice": good}).phase(v1alpha1.RunSuccessful, "all 2 metrics succeeded").due(nil, 0)
		if score := s.run.Status.Score; score == nil || *score != 100 {
			t.Errorf("score is %v, want 100", score)
		}
	})
	t.Run("one fails", func(t *testing.T) {
		s := tell(t, "["+once+", "+twice+"]")
		s.after(0, nil)
		s.after(time.Second, arrived{"once": bad}).phase(v1alpha1.RunFailed, "metric once failed: 0 does not meet").due(nil, 0)
		if phase := s.run.Status.Metrics[1].Phase; phase != v1alpha1.RunInconclusive {
			t.Errorf("the metric that was stopped is %s, want Inconclusive", phase)
		}
	})
	t.Run("an initial delay", func(t *testing.T) {
		s := tell(t, "[{name: once, initialDelay: 30s, successCondition: 'true', provider: {prometheus: {query: up}}}]")
		s.after(0, nil).due(nil, 30*time.Second)
		s.after(30*time.Second, nil).due([]int{0}, 0)
	})
	t.Run("errors", func(t *testing.T) {
		s := tell(t, "["+once+"]")
		s.after(0, nil)
		for range 4 {
			s.after(time.Second, arrived{"once": odd}).phase(v1alpha1.RunRunning, "").due(nil, 10*time.Second)
			s.after(10*time.Second, nil).due([]int{0}, 0)
		}
		s.after(time.Second, arrived{"once": odd}).phase(v1alpha1.RunError, "metric once could not be measured")
		if s.run.Status.Score != nil {
			t.Error("there is a score without a measurement")
		}
	})
	t.Run("endless, and terminated", func(t *testing.T) {
		s := tell(t, "["+ever+"]")
		s.after(0, nil)
		for range 15 {
			s.after(10*time.Second, arrived{"ever": good}).phase(v1alpha1.RunRunning, "")
		}
		if n := len(s.run.Status.Metrics[0].Measurements); n != 10 || s.run.Status.Metrics[0].Count != 15 {
			t.Errorf("%d measurements are kept of %d, want 10 of 15", n, s.run.Status.Metrics[0].Count)
		}
		s.run.Spec.Terminate = true
		s.after(0, nil).phase(v1alpha1.RunSuccessful, "").due(nil, 0)
	})
	t.Run("terminated too early", func(t *testing.T) { // a terminated run must not count as success
		s := tell(t, "["+twice+"]")
		s.after(0, nil).after(time.Second, arrived{"twice": good})
		s.run.Spec.Terminate = true
		s.after(0, nil).phase(v1alpha1.RunInconclusive, "stopped after 1 of 2 measurements")
	})
	t.Run("terminated before it began", func(t *testing.T) {
		s := tell(t, "["+once+"]")
		s.run.Spec.Terminate = true
		s.after(0, nil).phase(v1alpha1.RunInconclusive, "stopped before the first measurement").due(nil, 0)
	})
	t.Run("a failure that arrives with the end", func(t *testing.T) {
		s := tell(t, "["+ever+"]")
		s.after(0, nil).after(time.Second, arrived{"ever": good})
		s.run.Spec.Terminate = true
		s.after(time.Second, arrived{"ever": bad}).phase(v1alpha1.RunFailed, "metric ever failed")
	})
	t.Run("a restart", func(t *testing.T) { // what was not on record is measured again
		s := tell(t, "["+twice+"]")
		s.after(0, nil).due([]int{0}, 0)
		s.after(time.Minute, nil).due([]int{0}, 0)
		if !s.run.Status.StartedAt.Time.Equal(zero) {
			t.Errorf("it began at %v, want %v", s.run.Status.StartedAt, zero)
		}
	})
}

const jobs = "[{name: job, interval: 10s, count: 3, failureLimit: 1, provider: {job: {spec: {template: {spec: {restartPolicy: Never, containers: [{name: a, image: b}]}}}}}}]"

func (s *story) creates(want string) *story {
	s.Helper()
	if got := s.turn.create[0]; got != want {
		s.Errorf("Job to create: %q, want %q", got, want)
	}
	return s
}

func (s *story) keeps(want ...string) *story {
	s.Helper()
	for _, name := range want {
		if !s.turn.keep[name] {
			s.Errorf("Job %s goes, want it to stay", name)
		}
	}
	if len(s.turn.keep) != len(want) {
		s.Errorf("Jobs %v stay, want %v", s.turn.keep, want)
	}
	return s
}

func TestNextJob(t *testing.T) {
	t.Run("three times", func(t *testing.T) {
		s := tell(t, jobs)
		s.after(0, nil).phase(v1alpha1.RunRunning, "").creates("run-0-0").keeps("run-0-0")
		s.after(time.Second, nil).creates("run-0-0") // it was not created after all: the same again
		s.jobs["run-0-0"] = jobState{phase: check.Running}
		s.after(time.Second, nil).creates("").keeps("run-0-0").due(nil, 0)
		if m := s.run.Status.Metrics[0].Measurements[0]; m.Job != "run-0-0" || m.Phase != v1alpha1.RunRunning {
			t.Errorf("on record is %+v, want the Job under way", m)
		}
		s.jobs["run-0-0"] = jobState{phase: check.Successful}
		s.after(time.Minute, nil).phase(v1alpha1.RunRunning, "").creates("").keeps().due(nil, 10*time.Second)
		delete(s.jobs, "run-0-0")
		s.after(10*time.Second, nil).creates("run-0-1").keeps("run-0-1")
		s.jobs["run-0-1"] = jobState{phase: check.Failed, message: "the Job failed: BackoffLimitExceeded"}
		s.after(time.Second, nil).phase(v1alpha1.RunRunning, "").keeps("run-0-1")
		s.after(10*time.Second, nil).creates("run-0-2").keeps("run-0-2")
		s.jobs["run-0-2"] = jobState{phase: check.Successful}
		s.after(time.Second, nil).phase(v1alpha1.RunSuccessful, "").keeps()
	})
	t.Run("failed", func(t *testing.T) {
		s := tell(t, strings.Replace(jobs, "failureLimit: 1, ", "", 1))
		s.after(0, nil)
		s.jobs["run-0-0"] = jobState{phase: check.Failed, message: "the Job failed: DeadlineExceeded"}
		s.after(time.Second, nil).phase(v1alpha1.RunFailed, "the Job failed: DeadlineExceeded").keeps("run-0-0")
		if keep := lastFailed(s.run); !keep["run-0-0"] {
			t.Error("the Job that failed goes after the run's end, want it to stay for its logs")
		}
	})
	t.Run("gone", func(t *testing.T) {
		s := tell(t, jobs)
		s.after(0, nil)
		s.jobs["run-0-0"] = jobState{phase: check.Running}
		s.after(time.Second, nil)
		delete(s.jobs, "run-0-0")
		s.after(time.Second, nil).phase(v1alpha1.RunRunning, "").creates("").due(nil, 10*time.Second)
		if m := s.run.Status.Metrics[0].Measurements[0]; m.Phase != v1alpha1.RunError || !strings.Contains(m.Message, "Job run-0-0 is gone before it ended") {
			t.Errorf("on record is %+v, want an error that says the Job is gone", m)
		}
		s.after(10*time.Second, nil).creates("run-0-1")
	})
	t.Run("refused", func(t *testing.T) {
		s := tell(t, jobs)
		s.after(0, nil).creates("run-0-0")
		s.after(0, arrived{"job": odd}).creates("").due(nil, 10*time.Second)
		s.after(10*time.Second, nil).creates("run-0-1")
	})
	t.Run("terminated", func(t *testing.T) {
		s := tell(t, jobs)
		s.after(0, nil)
		s.jobs["run-0-0"] = jobState{phase: check.Running}
		s.after(time.Second, nil).keeps("run-0-0")
		s.run.Spec.Terminate = true
		s.after(time.Second, nil).phase(v1alpha1.RunInconclusive, "").creates("").keeps()
	})
}

func TestOutdated(t *testing.T) {
	rollout := &v1alpha1.Rollout{ObjectMeta: metav1.ObjectMeta{Name: "cart", UID: "1"}, Status: v1alpha1.RolloutStatus{Release: &v1alpha1.Release{ID: "present"}}}
	other := rollout.DeepCopy()
	other.UID = "2"
	var all []v1alpha1.AnalysisRun
	add := func(n int, owner *v1alpha1.Rollout, release string, phase v1alpha1.RunPhase, name string) {
		for i := range n {
			run := New(owner, v1alpha1.StageBackground, v1alpha1.AnalysisRunSpec{Release: release})
			run.Name = name + string(rune('a'+i))
			run.Status.Phase = phase
			if phase.Ended() {
				run.Status.CompletedAt = micro(zero.Add(time.Duration(i) * time.Minute))
			}
			all = append(all, *run)
		}
	}
	add(13, rollout, "past", v1alpha1.RunFailed, "past-")
	add(20, rollout, "present", v1alpha1.RunSuccessful, "present-")
	add(20, rollout, "past", v1alpha1.RunRunning, "running-")
	add(20, other, "past", v1alpha1.RunFailed, "other-")
	var names []string
	for _, run := range outdated(rollout, all) {
		names = append(names, run.Name)
	}
	if want := []string{"past-c", "past-b", "past-a"}; !slices.Equal(names, want) {
		t.Errorf("%v go, want %v: the oldest that have ended, none of the present release", names, want)
	}
}
