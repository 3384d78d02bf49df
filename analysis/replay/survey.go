package replay

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/common/model"
)

// startedName is the series of Sluice's proxies in which a release shows.
const startedName = "sluice_requests_started_total"

// Want is what is known of a release beforehand; what is empty is to be found out.
type Want struct {
	Stable, Canary, Control string
}

// A Survey finds releases in the series of Sluice's proxies: the requests that were begun, by revision and
// weight.
type Survey struct {
	want   Want
	source follower[drawn]
	first  bool
	until  int64
	// seconds in which requests were begun, by what was drawn
	begun map[drawn]map[int64]*second
	// pods of each revision, by their own word, with the time of their first request
	pods map[string]map[string]int64
}

// drawn is what a request's source drew, or what a pod was called as.
type drawn struct {
	revision string
	weight   uint32
	// pod, where the called pod tells.
	called bool
}

// second is what was begun in one second.
type second struct {
	from, at int64 // the earliest begin of an interval that ends in it, and its earliest end
	requests float64
}

// NewSurvey begins a survey. What happened up to begin is only what counters stood at; the zero time:
// the first two minutes of what is added.
func NewSurvey(want Want, begin time.Time) *Survey {
	s := &Survey{want: want, begun: map[drawn]map[int64]*second{}, pods: map[string]map[string]int64{}, first: begin.IsZero()}
	s.source.kindOf = drawnOf
	if !begin.IsZero() {
		s.source.begin = begin.UnixMilli()
	}
	return s
}

// lookback is how far before the time that is asked for samples are read, to know what counters stood at.
const lookback = 2 * time.Minute

// drawnOf reads what a series counts.
func drawnOf(metric model.Metric) (drawn, bool, error) {
	if metric[model.MetricNameLabel] != startedName {
		return drawn{}, false, nil
	}
	d := drawn{revision: string(metric["revision"]), called: metric["reporter"] != "source"}
	if d.revision == "" {
		return d, false, nil
	}
	if d.called || metric["weight"] == "" {
		return d, true, nil
	}
	weight, err := strconv.ParseUint(string(metric["weight"]), 10, 8)
	if err != nil || weight > 100 {
		return d, false, fmt.Errorf("a series has the weight %q, which is not from 0 to 100", clip(string(metric["weight"])))
	}
	d.weight = uint32(weight)
	return d, true, nil
}

// Add takes the next piece of samples.
func (s *Survey) Add(matrix model.Matrix) error {
	first, newest, some := extent(matrix)
	if !some {
		return nil
	}
	if s.first {
		s.first, s.source.begin = false, first+lookback.Milliseconds()
	}
	s.until = max(s.until, newest)
	return s.source.add(matrix, func(i interval[drawn]) error {
		if i.from == 0 {
			i.from = i.at
		}
		for what, more := range i.more {
			if what.called {
				s.call(what.revision, i)
				continue
			}
			if s.begun[what] == nil {
				s.begun[what] = map[int64]*second{}
			}
			at := i.at / 1000
			if seen := s.begun[what][at]; seen != nil {
				seen.from, seen.at, seen.requests = min(seen.from, i.from), min(seen.at, i.at), seen.requests+more
				continue
			}
			s.begun[what][at] = &second{i.from, i.at, more}
		}
		return nil
	})
}

// call notes that a pod was called.
func (s *Survey) call(revision string, i interval[drawn]) {
	if s.pods[revision] == nil {
		s.pods[revision] = map[string]int64{}
	}
	if _, known := s.pods[revision][i.target]; !known {
		s.pods[revision][i.target] = i.from
	}
}

// Find is the one release that was seen. None, or several, are an error that lists what there was.
func (s *Survey) Find() (Release, error) {
	candidates := s.releases()
	var fitting []candidate
	for _, c := range candidates {
		if c.fits(s.want) {
			fitting = append(fitting, c)
		}
	}
	switch {
	case len(candidates) == 0 && len(s.begun) == 0:
		return Release{}, errors.New("no requests to the service were seen in that time: check the namespace, the service and the time")
	case len(candidates) == 0 && s.want.Canary != "" && s.want.Stable != "":
		return Release{}, fmt.Errorf("no requests were drawn at a weight for canary %s and stable %s in that time; there were requests to %s", s.want.Canary, s.want.Stable, s.revisions())
	case len(candidates) == 0:
		return Release{}, fmt.Errorf("no release was on in that time: requests went to %s, none of them at a weight; take a time around the release", s.revisions())
	case len(fitting) == 0:
		return Release{}, fmt.Errorf("none of the releases that were seen is the one that was named:\n%s", list(candidates))
	case len(fitting) > 1:
		return Release{}, fmt.Errorf("%d releases were seen; name the canary, or take a time with one of them only:\n%s", len(fitting), list(fitting))
	}
	found := fitting[0]
	if found.problem != "" {
		return Release{}, fmt.Errorf("%s: name the canary and stable:\n%s", found.problem, list(fitting))
	}
	r := found.release
	r.Control = s.want.Control
	for _, at := range slices.Sorted(maps.Values(s.pods[r.Canary])) {
		if at <= r.Until.UnixMilli() {
			r.Pods = append(r.Pods, time.UnixMilli(at).UTC())
		}
	}
	return r, nil
}

// revisions that were seen, for people.
func (s *Survey) revisions() string {
	seen := map[string]bool{}
	for what := range s.begun {
		seen[what.revision] = true
	}
	return strings.Join(slices.Sorted(maps.Keys(seen)), ", ")
}

// run is a time in which most requests were drawn at one weight.
type run struct {
	weight      uint32
	first, last int64 // bins
}

// releases finds what was on: times above weight 0 between times at 0.
func (s *Survey) releases() []candidate {
	bin := max(5, 2*s.source.scrapeInterval()/1000) // seconds
	var all []candidate
	var open []run
	before := run{first: math.MinInt64 / 2, last: math.MinInt64 / 2} // the last run at weight 0
	end := func(until int64) {
		if len(open) > 0 {
			all = append(all, s.candidate(open, before, bin, until))
		}
		open = nil
	}
	runs := s.runs(bin)
	for i, r := range runs {
		switch {
		case r.weight > 0:
			open = append(open, r)
		case len(open) > 0 && i < len(runs)-1 && s.continues(runs[i-1], runs[i+1], bin):
		default:
			end(s.first0(r, bin))
			before = r
		}
	}
	end(s.until)
	return slices.DeleteFunc(all, func(c candidate) bool { return len(c.release.Weights) == 0 })
}

// continues reports whether what was at weight 0 between two runs was but a source that got the weight
// later than others: proxies that take longer than half a minute are left out.
func (s *Survey) continues(a, b run, bin int64) bool {
	if (b.first-a.last)*bin > 30 || b.weight < a.weight {
		return false
	}
	seen := map[string]bool{}
	for what, times := range s.begun {
		for at := range times {
			if what.weight > 0 && s.wanted(what.revision) && at >= a.first*bin && at < (b.last+1)*bin {
				seen[what.revision] = true
			}
		}
	}
	return len(seen) <= 2
}

// runs are the weights at which most requests were drawn, bin by bin, put together.
func (s *Survey) runs(bin int64) []run {
	bins := map[int64]map[uint32]float64{}
	for what, times := range s.begun {
		if !s.wanted(what.revision) {
			continue
		}
		for at, seen := range times {
			if bins[at/bin] == nil {
				bins[at/bin] = map[uint32]float64{}
			}
			bins[at/bin][what.weight] += seen.requests
		}
	}
	var runs []run
	for _, at := range slices.Sorted(maps.Keys(bins)) {
		var weight uint32
		most := 0.0
		for w, requests := range bins[at] {
			if requests > most || (requests == most && w > weight) {
				weight, most = w, requests
			}
		}
		if last := len(runs) - 1; last >= 0 && runs[last].weight == weight {
			runs[last].last = at
			continue
		}
		runs = append(runs, run{weight, at, at})
	}
	return runs
}

// wanted leaves out the revisions that were not named, where both were.
func (s *Survey) wanted(revision string) bool {
	return s.want.Canary == "" || s.want.Stable == "" || revision == s.want.Canary || revision == s.want.Stable
}

// first0 is when a run at weight 0 began.
func (s *Survey) first0(r run, bin int64) int64 {
	earliest := int64(math.MaxInt64)
	for what, times := range s.begun {
		if what.weight != 0 {
			continue
		}
		for at, seen := range times {
			if at/bin == r.first {
				earliest = min(earliest, seen.at)
			}
		}
	}
	return min(earliest, (r.first+1)*bin*1000)
}

// candidate makes a release of the runs above 0.
func (s *Survey) candidate(open []run, before run, bin, until int64) candidate {
	// A source may draw at a weight in the bin before the one in which most do.
	from, to := (open[0].first-1)*bin, (open[len(open)-1].last+2)*bin
	requests := map[drawn]float64{}
	since := map[uint32]int64{}
	for what, times := range s.begun {
		if !s.wanted(what.revision) {
			continue
		}
		for at, seen := range times {
			switch {
			case what.weight > 0 && at >= from && at < to && seen.at <= until:
				requests[what] += seen.requests
				if known, is := since[what.weight]; !is || seen.from < known {
					since[what.weight] = seen.from
				}
			case what.weight == 0 && at >= before.first*bin && at < (before.last+1)*bin && at < from:
				requests[what] += seen.requests
			}
		}
	}
	c := candidate{release: Release{Until: time.UnixMilli(until).UTC()}}
	for _, weight := range slices.Sorted(maps.Keys(since)) {
		at := time.UnixMilli(since[weight]).UTC()
		if last := len(c.release.Weights) - 1; last >= 0 && at.Before(c.release.Weights[last].At) {
			at = c.release.Weights[last].At
		}
		c.release.Weights = append(c.release.Weights, Weight{weight, at})
	}
	c.tell(requests, s.want)
	return c
}
