package replay

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	"github.com/prometheus/common/model"
)

// follower follows counters from scrape to scrape, target by target, and hands on what they counted
// between two scrapes. A series that is absent from a scrape of its target is at zero; where a counter
// falls the target was restarted, and what it counted since its last scrape is left out altogether.
//
// Times are milliseconds, as Prometheus has them.
type follower[K comparable] struct {
	// kindOf says what a series counts; false: nothing of interest.
	kindOf func(model.Metric) (K, bool, error)
	// begin: targets that are first seen up to this time may have counted before; later ones are new.
	begin   int64
	targets map[string]*target
	gaps    []int64 // between scrapes of targets, at most 1,000
	resets  int
}

// target is what is scraped: a pod, or an address.
type target struct {
	first, last int64
	values      map[string]float64 // at last, by series
}

// interval is what a target counted in (from, at]; from is 0 where it was not seen before.
type interval[K comparable] struct {
	target   string
	from, at int64
	more     map[K]float64
	// reset: it is not known what was counted.
	reset bool
}

// reading is one scrape of a target as a matrix has it.
type reading struct {
	target string
	at     int64
	values map[string]float64
}

// add hands on the intervals that a matrix ends, in order of time. The matrices must follow each other in
// time without overlapping.
func (f *follower[K]) add(matrix model.Matrix, book func(interval[K]) error) error {
	kinds := map[string]K{}
	readings := map[string]map[int64]*reading{}
	for _, stream := range matrix {
		kind, wanted, err := f.kindOf(stream.Metric)
		if err != nil {
			return err
		}
		if !wanted {
			continue
		}
		name := targetOf(stream.Metric)
		if name == "" {
			return fmt.Errorf("%s says neither by pod nor by instance from where it was scraped", clip(stream.Metric.String()))
		}
		series := stream.Metric.String()
		kinds[series] = kind
		if readings[name] == nil {
			readings[name] = map[int64]*reading{}
		}
		for _, sample := range stream.Values {
			at, value := int64(sample.Timestamp), float64(sample.Value)
			if !(value >= 0 && value < 1<<53) { // NaN too
				return fmt.Errorf("a counter has the value %v: %s", value, clip(series))
			}
			r := readings[name][at]
			if r == nil {
				r = &reading{target: name, at: at, values: map[string]float64{}}
				readings[name][at] = r
			}
			if _, twice := r.values[series]; twice {
				return fmt.Errorf("%s is there twice", clip(series))
			}
			r.values[series] = value
		}
	}
	var all []*reading
	for _, byTime := range readings {
		all = slices.AppendSeq(all, maps.Values(byTime))
	}
	slices.SortFunc(all, func(a, b *reading) int {
		return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.target, b.target))
	})
	for _, r := range all {
		if err := f.step(r, kinds, book); err != nil {
			return err
		}
	}
	return nil
}

// step ends an interval of one target.
func (f *follower[K]) step(r *reading, kinds map[string]K, book func(interval[K]) error) error {
	t := f.targets[r.target]
	if t == nil {
		if f.targets == nil {
			f.targets = map[string]*target{}
		}
		t = &target{first: r.at}
		f.targets[r.target] = t
		if r.at <= f.begin {
			t.last, t.values = r.at, r.values
			return nil
		}
	}
	if r.at <= t.last {
		return fmt.Errorf("samples of %s are not in order of time", clip(r.target))
	}
	if t.last > 0 && len(f.gaps) < 1000 {
		f.gaps = append(f.gaps, r.at-t.last)
	}
	i := interval[K]{target: r.target, from: t.last, at: r.at, more: map[K]float64{}}
	for series, before := range t.values {
		if r.values[series] < before {
			i.reset, i.more = true, nil
			f.resets++
			break
		}
	}
	if !i.reset {
		for series, value := range r.values {
			if more := value - t.values[series]; more > 0 {
				i.more[kinds[series]] += more
			}
		}
	}
	t.last, t.values = r.at, r.values
	return book(i)
}

// scrapeInterval is the median time between two scrapes of a target, in milliseconds; 0: not known.
func (f *follower[K]) scrapeInterval() int64 {
	if len(f.gaps) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(f.gaps))
	return sorted[len(sorted)/2]
}

// targetOf names what a series was scraped from. Two servers that scrape the same target are two targets;
// replicas says that there are.
func targetOf(metric model.Metric) string {
	job, pod, instance := metric["job"], metric["pod"], metric["instance"]
	if pod == "" && instance == "" {
		return ""
	}
	return string(job + "/" + metric["namespace"] + "/" + pod + "/" + instance)
}
