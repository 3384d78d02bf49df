package controllers

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/sluice-mesh/sluice/analysis"
	"github.com/sluice-mesh/sluice/api/v1alpha1"
)

// court is a judge who notes what he is asked.
type court struct {
	mu    sync.Mutex
	asked []analysis.Release
	away  bool
}

func (c *court) Look(_ context.Context, release analysis.Release, _ analysis.Settings) (analysis.Verdict, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.asked = append(c.asked, release)
	if c.away {
		return analysis.Verdict{}, errors.New("no answer")
	}
	return analysis.Verdict{Outcome: analysis.Pass, Reason: fmt.Sprintf("at %d", release.Weight)}, nil
}

// asked is how often the judge was asked since it was last looked, and the last question.
func (c *court) since() (int, analysis.Release) {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := len(c.asked)
	var last analysis.Release
	if n > 0 {
		last = c.asked[n-1]
	}
	c.asked = nil
	return n, last
}

// TestLooks follows one release with a fake clock.
func TestLooks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		judge := &court{}
		looks := NewLooks(judge, time.Now)
		ctx, stop := context.WithCancel(t.Context())
		over := make(chan error)
		rollout := judged()
		looks.keep(rollout, true) // before it leads
		go func() { over <- looks.Start(ctx) }()
		synctest.Wait()
		if n, _ := judge.since(); n != 0 {
			t.Fatalf("asked %d times by an operator that does not lead", n)
		}

		looks.keep(rollout, true)
		synctest.Wait()
		if n, asked := judge.since(); n != 1 || asked.Weight != 25 || !asked.Since.Equal(began) {
			t.Fatalf("asked %d times, last about %+v; want the release at once", n, asked)
		}
		if v := looks.newest(rollout); v == nil || v.Outcome != v1alpha1.VerdictPass || v.Epoch != 7 || v.Weight != 25 {
			t.Errorf("verdict %+v, want a pass of the present epoch", v)
		}
		looks.keep(rollout, true)
		time.Sleep(2500 * time.Millisecond)
		synctest.Wait()
		if n, _ := judge.since(); n != 2 {
			t.Errorf("asked %d times in 2.5 s, want each second, whatever the reconciler does", n)
		}

		// Another weight: what was said before does not count, and it is looked at as soon as it is live.
		raised := rollout.DeepCopy()
		raised.Status.Weight.Desired, raised.Status.Weight.Epoch = 50, 8
		raised.Status.Weight.LiveAt = nil
		raised.Status.Release.Weights = append(raised.Status.Release.Weights, v1alpha1.DecidedWeight{Percent: 50, DecidedAt: after(90)})
		if v := looks.newest(raised); v != nil {
			t.Errorf("verdict %+v of an earlier epoch counts", v)
		}
		looks.keep(raised, true)
		synctest.Wait()
		if n, _ := judge.since(); n != 0 {
			t.Errorf("asked %d times before the weight is live", n)
		}
		raised = raised.DeepCopy()
		raised.Status.Weight.LiveAt = ptr.To(after(90))
		looks.keep(raised, true)
		synctest.Wait()
		if n, asked := judge.since(); n != 1 || asked.Weight != 50 || !asked.Since.Equal(began) {
			t.Errorf("asked %d times, last about %+v; want the same release at 50 at once", n, asked)
		}
		if v := looks.newest(raised); v == nil || v.Reason != "at 50" {
			t.Errorf("verdict %+v, want one about 50", v)
		}

		// A warm-up and another demand are taken along without a new beginning.
		raised = raised.DeepCopy()
		raised.Status.Release.WarmUps[0].Until = after(45)
		looks.keep(raised, true)
		time.Sleep(time.Second)
		synctest.Wait()
		if _, asked := judge.since(); len(asked.WarmUps) != 1 || !asked.WarmUps[0].Until.Equal(began.Add(45*time.Second)) {
			t.Errorf("asked about warm-ups %v, want the one that grew", asked.WarmUps)
		}
		raised = raised.DeepCopy()
		raised.Spec.Analysis.Interval = ptr.To(metav1.Duration{Duration: 100 * time.Millisecond})
		looks.keep(raised, true)
		time.Sleep(950 * time.Millisecond)
		synctest.Wait()
		if n, _ := judge.since(); n != 10 {
			t.Errorf("asked %d times, want 10 at the new pace", n)
		}

		judge.mu.Lock()
		judge.away = true
		judge.mu.Unlock()
		time.Sleep(200 * time.Millisecond)
		synctest.Wait()
		if v := looks.newest(raised); v == nil || v.Outcome != v1alpha1.VerdictInconclusive || v.LowTraffic {
			t.Errorf("verdict %+v without evidence, want inconclusive, and not for lack of requests", v)
		}
		judge.since()
		looks.keep(raised, false)
		time.Sleep(time.Second)
		synctest.Wait()
		if n, _ := judge.since(); n > 0 || looks.newest(raised) != nil {
			t.Errorf("asked %d times after it was told to stop", n)
		}
		looks.keep(raised, true)
		synctest.Wait()
		stop()
		if err := <-over; err != nil {
			t.Error(err)
		}
	})
}
