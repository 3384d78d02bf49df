package runs

import (
	"fmt"
	"time"

	"github.com/sluice-mesh/sluice/analysis/check"
	"github.com/sluice-mesh/sluice/api/v1alpha1"
)

// arrived are measurements that have ended since the status was written, by metric.
type arrived map[string]check.Measurement

// jobState is what became of a Job.
type jobState struct {
	// phase is Running, Successful or Failed; message says why it failed.
	phase   check.Phase
	message string
}

// turn is what is to be done about a run: its status first, then the rest.
type turn struct {
	status v1alpha1.AnalysisRunStatus
	// measure are the indices of metrics whose measurement is due; those that run already are among them.
	measure []int
	// create are the indices of metrics whose Job is to be created, by its name.
	create map[int]string
	// keep are the names of Jobs that stay.
	keep map[string]bool
	// requeue is when there is something to do again; zero: when something arrives.
	requeue time.Duration
}

// next says what is to be done about a run that has not ended. It is pure: the same status, arrivals and
// Jobs give the same turn.
func next(run *v1alpha1.AnalysisRun, news arrived, jobs map[string]jobState, now time.Time) turn {
	t := turn{status: *run.Status.DeepCopy(), create: map[int]string{}, keep: map[string]bool{}}
	if t.status.StartedAt == nil {
		t.status.StartedAt = micro(now)
	}
	metrics, statuses := make([]check.Metric, len(run.Spec.Metrics)), readMetrics(run)
	for i, metric := range run.Spec.Metrics {
		metrics[i] = rule(metric)
		if m, is := news[metric.Name]; is {
			statuses[i] = check.Step(metrics[i], statuses[i], m, now)
		}
		if metric.Provider.Job != nil {
			statuses[i] = followJob(metrics[i], statuses[i], jobName(run, i, statuses[i]), jobs, now)
		}
	}
	if run.Spec.Terminate || check.Settled(metrics, statuses) {
		for i := range statuses {
			statuses[i] = check.Stop(metrics[i], statuses[i], now)
		}
	}
	phase, message := check.Overall(metrics, statuses)
	if !phase.Completed() {
		for i := range statuses {
			statuses[i] = t.plan(run, i, metrics[i], statuses[i], jobs, now)
		}
		phase = check.Running
	} else {
		t.status.CompletedAt = micro(now)
	}
	for _, status := range statuses {
		if last := len(status.Measurements) - 1; last >= 0 {
			m := status.Measurements[last]
			if job := m.Metadata[jobKey]; job != "" && (m.Phase == check.Running || m.Phase == check.Failed) {
				t.keep[job] = true // a failed one stays for its logs
			}
		}
	}
	t.status.Phase, t.status.Message = v1alpha1.RunPhase(phase), clip(message, maxMessage)
	t.status.Score, t.status.Metrics = score(metrics, statuses), writeMetrics(statuses)
	return t
}

// plan sees to a metric that goes on: what is due now is begun, the rest is waited for.
func (t *turn) plan(run *v1alpha1.AnalysisRun, i int, metric check.Metric, status check.MetricStatus, jobs map[string]jobState, now time.Time) check.MetricStatus {
	job := run.Spec.Metrics[i].Provider.Job != nil
	if due, ok := check.Next(metric, status, t.status.StartedAt.Time); ok {
		switch wait := due.Sub(now); {
		case wait > 0 && (t.requeue == 0 || wait < t.requeue):
			t.requeue = wait
		case wait <= 0 && job:
			// On record before the Job is there, so that it cannot be forgotten.
			status = check.Step(metric, status, check.Measurement{Phase: check.Running, StartedAt: now}, now)
		case wait <= 0:
			t.measure = append(t.measure, i)
		}
	}
	if last := len(status.Measurements) - 1; job && last >= 0 && status.Measurements[last].Phase == check.Running && status.Measurements[last].Metadata[jobKey] == "" {
		name := jobName(run, i, status)
		t.keep[name] = true
		if _, there := jobs[name]; !there {
			t.create[i] = name
		}
	}
	return status
}

// jobName is the name of the Job of a metric's present measurement: the same until that has ended.
func jobName(run *v1alpha1.AnalysisRun, metric int, status check.MetricStatus) string {
	return fit(run.Name, fmt.Sprintf("-%d-%d", metric, status.Count+status.Error))
}

// followJob brings a measurement up to date with its Job.
func followJob(metric check.Metric, status check.MetricStatus, name string, jobs map[string]jobState, now time.Time) check.MetricStatus {
	last := len(status.Measurements) - 1
	if last < 0 || status.Measurements[last].Phase != check.Running {
		return status
	}
	m := status.Measurements[last]
	job, there := jobs[name]
	switch {
	case !there && m.Metadata[jobKey] == "":
		return status // it is yet to be created
	case !there:
		m.Phase, m.Message = check.Error, fmt.Sprintf("Job %s is gone before it ended; see who deletes Jobs here", name)
	default:
		m.Phase, m.Message, m.Metadata = job.phase, job.message, map[string]string{jobKey: name}
	}
	if m.Phase.Completed() {
		m.FinishedAt = now
	}
	return check.Step(metric, status, m, now)
}
