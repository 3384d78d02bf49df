package replay

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// surveyed is what a survey finds in a trace, read in pieces.
func surveyed(t *testing.T, tr trace, want Want) (Release, error) {
	t.Helper()
	survey := NewSurvey(want, noon.Add(time.Minute))
	for _, piece := range pieces(tr.matrix(), 5*time.Minute) {
		if err := survey.Add(piece); err != nil {
			t.Fatal(err)
		}
	}
	return survey.Find()
}

func TestSurveyFindsTheRelease(t *testing.T) {
	base := trace{rate: 20, sources: 3, scrape: 5 * time.Second, length: 20 * time.Minute}
	tests := map[string]struct {
		change  func(*trace)
		weights []Weight
		until   time.Duration
		slack   time.Duration
	}{
		"promoted":        {func(tr *trace) { tr.weights = steps(4, 10, 8, 25, 12, 50, 16, 100) }, steps(4, 10, 8, 25, 12, 50, 16, 100), 20 * time.Minute, 0},
		"rolled back":     {func(tr *trace) { tr.weights = steps(4, 10, 8, 25, 12, 0) }, steps(4, 10, 8, 25), 12 * time.Minute, 0},
		"one weight only": {func(tr *trace) { tr.weights = steps(4, 50, 12, 0) }, steps(4, 50), 12 * time.Minute, 0},
		"little traffic":  {func(tr *trace) { tr.rate, tr.weights = .5, steps(4, 10, 12, 50) }, steps(4, 10, 12, 50), 20 * time.Minute, 20 * time.Second},
		"a restart":       {func(tr *trace) { tr.restart, tr.weights = 6*time.Minute, steps(4, 10, 12, 50) }, steps(4, 10, 12, 50), 20 * time.Minute, 0},
		"slow scrapes":    {func(tr *trace) { tr.scrape, tr.weights = 30*time.Second, steps(4, 10, 12, 50) }, steps(4, 10, 12, 50), 20 * time.Minute, 0},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			tr := base
			tr.seed = 7
			test.change(&tr)
			got, err := surveyed(t, tr, Want{})
			if err != nil {
				t.Fatal(err)
			}
			if got.Canary != "new" || got.Stable != "old" || len(got.Weights) != len(test.weights) {
				t.Fatalf("got %+v", got)
			}
			slack := tr.scrape + time.Second + test.slack
			for i, w := range got.Weights {
				if want := test.weights[i]; w.Percent != want.Percent || w.At.Sub(want.At).Abs() > slack {
					t.Errorf("weight %d %% at %v, want %d %% at %v", w.Percent, w.At, want.Percent, want.At)
				}
			}
			if end := noon.Add(test.until); got.Until.Sub(end).Abs() > slack {
				t.Errorf("until %v, want %v", got.Until, end)
			}
			if err := got.refuse(); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestSurveyRefuses(t *testing.T) {
	base := trace{seed: 1, rate: 20, sources: 2, scrape: 5 * time.Second, length: 20 * time.Minute}
	tests := map[string]struct {
		change func(*trace)
		want   Want
		parts  []string
	}{
		"no release":  {func(*trace) {}, Want{}, []string{"no release was on", "old"}},
		"no requests": {func(tr *trace) { tr.rate = 0 }, Want{}, []string{"no requests to the service"}},
		"two releases": {
			func(tr *trace) { tr.weights = steps(3, 10, 6, 25, 9, 0, 12, 10, 15, 50) },
			Want{}, []string{"2 releases", "12:02:", "10 %, 25 %", "12:11:", "10 %, 50 %"},
		},
		"another one":  {func(tr *trace) { tr.weights = steps(3, 10) }, Want{Canary: "old"}, []string{"none of the releases", "canary new, stable old"}},
		"none of both": {func(tr *trace) { tr.weights = steps(3, 10) }, Want{Canary: "a", Stable: "b"}, []string{"canary a and stable b", "requests to new, old"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			tr := base
			test.change(&tr)
			got, err := surveyed(t, tr, test.want)
			if err == nil {
				t.Fatalf("found %+v", got)
			}
			for _, part := range test.parts {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("the error does not say %q: %v", part, err)
				}
			}
		})
	}
}

// Which of two revisions is the canary cannot be told from a half, when nothing is known of before.
func TestSurveyCannotTell(t *testing.T) {
	tr := trace{seed: 1, rate: 20, sources: 2, scrape: 5 * time.Second, length: 10 * time.Minute, weights: []Weight{{50, noon}}}
	if got, err := surveyed(t, tr, Want{}); err == nil || !strings.Contains(err.Error(), "cannot be told") {
		t.Errorf("got %+v, %v", got, err)
	}
	got, err := surveyed(t, tr, Want{Canary: "new"})
	if err != nil || got.Stable != "old" {
		t.Errorf("got %+v, %v", got, err)
	}
}

func TestSurveyFindsPods(t *testing.T) {
	tr := trace{seed: 1, rate: 20, sources: 2, scrape: 5 * time.Second, length: 10 * time.Minute, weights: steps(4, 10), pods: 3}
	got, err := surveyed(t, tr, Want{})
	if err != nil || len(got.Pods) != 3 {
		t.Fatalf("got %+v, %v", got, err)
	}
	windows := got.warmUps(time.Minute)
	if len(windows) != 1 || !windows[0].From.Equal(got.Weights[0].At) || windows[0].Until.Before(windows[0].From.Add(time.Minute)) {
		t.Errorf("warm-ups %v", windows)
	}
	if diff := cmp.Diff(0, len(got.warmUps(0))); diff != "" {
		t.Error(diff)
	}
}
