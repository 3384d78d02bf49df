package prometheus

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"time"

	v1 "github.com/prometheus/client_golang/api/prometheus/v1"
	"github.com/prometheus/common/model"

	"github.com/sluice-mesh/sluice/analysis"
)

const (
	// history is how much time before Release.Since stable's normal conduct is read from.
	history = time.Hour
	// enough is how many requests show how long they usually take.
	enough = 100
	// fewest is how many boundaries are chosen at least, where there are so many.
	fewest = 3
)

// slower are the shares of stable's requests above the boundaries that are chosen.
var slower = []float64{.1, .05, .01, .001}

// usual are the boundaries where nothing is known.
var usual = []time.Duration{50 * time.Millisecond, 250 * time.Millisecond, time.Second, 5 * time.Second}

// errHalf says that the server is in the midst of its first scrape of a service: it lists a series from when
// it has read its line, bucket after bucket, of which the infinite one is the last.
var errHalf = errors.New("list bucket bounds: not all buckets are there yet")

// Boundaries are the exact bucket bounds, rising, from which requests of a release count as slow: those at
// or just above Release.Boundaries and Release.Threshold, or, where no boundaries are given, such that
// about 10, 5, 1 and 0.1 % of stable's requests in the hour before Release.Since took longer. With
// fewer than 100 requests in that hour they are those at or above 50 ms, 250 ms, 1 s and 5 s. None: the
// service's durations are not counted in a histogram (yet).
//
// Of native histograms a bound may turn out to lie inside a bucket; Evidence then raises it.
func (s *Sampler) Boundaries(ctx context.Context, release analysis.Release) ([]time.Duration, error) {
	if err := refuse(release); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, s.options.Timeout)
	defer cancel()
	found, err := s.scale(ctx, release, s.options.Now())
	if err != nil {
		return nil, err
	}
	if found.native {
		counted, err := s.Query(ctx, "count("+selectNative(release)+")", s.options.Now())
		if err != nil || len(counted.Series) == 0 {
			return nil, err
		}
	}
	var bounds []time.Duration
	for _, b := range found.bounds {
		bounds = append(bounds, b.duration())
	}
	return bounds, nil
}

// scale finds out how a service's durations are counted, and with which bounds the release is judged. A
// native scale is a guess: no classic histogram was found.
func (s *Sampler) scale(ctx context.Context, release analysis.Release, now time.Time) (scale, error) {
	values, warnings, _, err := s.api.LabelValues(ctx, "le", []string{selectBounds(release.Namespace, release.Service)},
		release.Since.Add(-lookback), now.Add(lead), v1.WithLimit(1000))
	if err == nil {
		_, err = complete(warnings)
	}
	if err != nil {
		return scale{}, clean("list bucket bounds", err)
	}
	there := parseBounds(values)
	if len(there) > 0 && !slices.Contains(values, "+Inf") {
		return scale{}, errHalf
	}
	asked := release.Boundaries
	if len(asked) == 0 {
		if asked, err = s.choose(ctx, release, len(there) == 0); err != nil {
			return scale{}, err
		}
	}
	if release.Threshold > 0 {
		asked = append(slices.Clone(asked), release.Threshold)
	}
	if len(there) == 0 {
		return scale{native: true, bounds: exact(asked)}, nil
	}
	return scale{bounds: pick(there, asked)}, nil
}

// choose chooses boundaries from how long stable's requests took in the hour before the release. It
// reads no counts that are judged, so that an estimate does.
func (s *Sampler) choose(ctx context.Context, release analysis.Release, native bool) ([]time.Duration, error) {
	if native {
		value, err := s.instant(ctx, fmt.Sprintf("sum(increase(%s[%ds]))", selectNative(release), int(history.Seconds())), release.Since)
		if err != nil || len(value) == 0 || value[0].Histogram == nil {
			return usual, err
		}
		return ofNative(value[0].Histogram).boundaries(), nil
	}
	value, err := s.instant(ctx, fmt.Sprintf(`sum by (le) (increase(%s{reporter="source",namespace=%s,service=%s,revision=%s,code!~"5xx|none"}[%ds]))`,
		bucketName, strconv.Quote(release.Namespace), strconv.Quote(release.Service), strconv.Quote(veteranOf(release)), int(history.Seconds())), release.Since)
	if err != nil {
		return nil, err
	}
	return ofClassic(value).boundaries(), nil
}

// veteranOf is the revision that served before the release: stable, also where a baseline, which is as young
// as the canary, is what the canary is compared with.
func veteranOf(release analysis.Release) string {
	if release.Stable != "" {
		return release.Stable
	}
	return controlOf(release)
}

func selectNative(release analysis.Release) string {
	return fmt.Sprintf(`%s{reporter="source",namespace=%s,service=%s,revision=%s,code!~"5xx|none"}`,
		durationName, strconv.Quote(release.Namespace), strconv.Quote(release.Service), strconv.Quote(veteranOf(release)))
}

// instant evaluates an expression to a vector, of numbers or histograms.
func (s *Sampler) instant(ctx context.Context, expression string, at time.Time) (model.Vector, error) {
	value, warnings, _, err := s.api.Query(ctx, expression, at, v1.WithLimit(s.options.MaxSeries))
	if err == nil {
		_, err = complete(warnings)
	}
	if err != nil {
		return nil, clean("query prometheus", err)
	}
	vector, ok := value.(model.Vector)
	if !ok || slices.Contains(vector, nil) {
		return nil, errors.New("query prometheus: the answer is not a vector")
	}
	return vector, nil
}

// distribution is how many requests took up to each of some bounds in seconds, rising; the last is all.
type distribution []struct{ bound, upTo float64 }

func ofClassic(vector model.Vector) distribution {
	d := make(distribution, len(vector))
	for i, v := range vector {
		le, err := strconv.ParseFloat(string(v.Metric["le"]), 64)
		if err != nil || math.IsNaN(le) {
			return nil
		}
		d[i].bound, d[i].upTo = le, float64(v.Value)
	}
	d.sort()
	return d
}

func ofNative(h *model.SampleHistogram) distribution {
	d := make(distribution, len(h.Buckets)+1)
	for i, b := range h.Buckets {
		if b == nil {
			return nil
		}
		d[i].bound, d[i].upTo = float64(b.Upper), float64(b.Count)
	}
	d[len(h.Buckets)].bound = math.Inf(1)
	d.sort()
	for i := range d[1:] {
		d[i+1].upTo += d[i].upTo
	}
	return d
}

func (d distribution) sort() {
	slices.SortFunc(d, func(a, b struct{ bound, upTo float64 }) int { return cmp.Compare(a.bound, b.bound) })
}

// boundaries are, for each of the slower shares, the lowest bound above which there is at most that share;
// and the usual ones above these, up to the fewest that there shall be.
func (d distribution) boundaries() []time.Duration {
	if len(d) == 0 || !(d[len(d)-1].upTo >= enough) || math.IsInf(d[len(d)-1].upTo, 0) {
		return usual
	}
	all, chosen := d[len(d)-1].upTo, []time.Duration(nil)
	for _, share := range slower {
		for _, p := range d {
			if p.bound > 0 && p.bound <= longest && all-p.upTo <= share*all {
				chosen = append(chosen, bound{seconds: p.bound}.duration())
				break
			}
		}
	}
	chosen = slices.Compact(chosen)
	for _, u := range usual {
		if len(chosen) < fewest && (len(chosen) == 0 || u > chosen[len(chosen)-1]) {
			chosen = append(chosen, u)
		}
	}
	return chosen
}
