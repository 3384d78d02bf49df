package prometheus

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/prometheus/common/model"

	"github.com/sluice-mesh/sluice/analysis"
)

// Fetch hands the raw samples that the evidence of a release is made from, of the time (from, to], to each,
// piece by piece in the order of time. For a Tape, from must lie 2 minutes before Release.Since.
func (s *Sampler) Fetch(ctx context.Context, release analysis.Release, from, to time.Time, each func(model.Matrix) error) error {
	if err := refuse(release); err != nil {
		return err
	}
	found, err := s.scale(ctx, release, to)
	if err != nil {
		return err
	}
	r := s.newReading(release)
	r.restart(found)
	return s.pieces(ctx, r.selection(), from.Truncate(time.Millisecond), to.Truncate(time.Millisecond), func(a *answer) error {
		matrix, err := a.matrix()
		if err != nil {
			return err
		}
		return each(matrix)
	})
}

// pieces hands the answers about the time (from, until] to each, in the order of time, each of so little
// time that it is not too large.
func (s *Sampler) pieces(ctx context.Context, what *selection, from, until time.Time, each func(*answer) error) error {
	a := s.answers.Get().(*answer)
	defer s.answers.Put(a)
	for length := piece; from.Before(until); {
		end := until
		if from.Add(length).Before(end) {
			end = from.Add(length)
		}
		err := s.ask(ctx, what, from, end, a)
		if errors.Is(err, errTooLarge) && end.Sub(from) > leastPiece {
			length = max(end.Sub(from)/2, leastPiece)
			continue
		}
		if err != nil {
			return err
		}
		if err := each(a); err != nil {
			return err
		}
		from = end
	}
	return nil
}

// ask fetches the raw samples of a selection in (from, end].
func (s *Sampler) ask(ctx context.Context, what *selection, from, end time.Time, a *answer) error {
	ctx, cancel := context.WithTimeout(ctx, s.options.Timeout)
	defer cancel()
	expression := fmt.Sprintf("%s[%dms]", what.selector(), end.Sub(from).Milliseconds())
	a.cold = what.cold
	var err error
	if a.body, err = s.fetch(ctx, expression, end, a.body); err != nil {
		return err
	}
	if err := s.decoder.decode(a, s.options.Now().Unix()); err != nil {
		return fmt.Errorf("query prometheus: %w", err)
	}
	if uint64(len(a.streams)) > s.options.MaxSeries {
		return fmt.Errorf("query prometheus: more than %d series", s.options.MaxSeries)
	}
	return nil
}

// matrix is an answer as the server's API has it.
func (a *answer) matrix() (model.Matrix, error) {
	matrix := make(model.Matrix, 0, len(a.streams))
	for _, st := range a.streams {
		out := &model.SampleStream{}
		if err := json.Unmarshal([]byte(st.metric.text), &out.Metric); err != nil {
			return nil, fmt.Errorf("read labels: %w", err)
		}
		for _, x := range a.samples[st.from:st.to] {
			out.Values = append(out.Values, model.SamplePair{Timestamp: model.Time(x.at), Value: model.SampleValue(x.value)})
		}
		for _, h := range a.histograms[st.histogramFrom:st.histogramTo] {
			histogram := &model.SampleHistogram{Count: model.FloatString(h.count), Sum: model.FloatString(h.sum)}
			for _, b := range a.buckets[h.from:h.to] {
				histogram.Buckets = append(histogram.Buckets, &model.HistogramBucket{
					Boundaries: int32(b.closed), //nolint:gosec // one digit
					Lower:      model.FloatString(b.lower), Upper: model.FloatString(b.upper), Count: model.FloatString(b.count),
				})
			}
			out.Histograms = append(out.Histograms, model.SampleHistogramPair{Timestamp: model.Time(h.at), Histogram: histogram})
		}
		matrix = append(matrix, out)
	}
	return matrix, nil
}

// encode makes an answer of a matrix.
func (d *decoder) encode(a *answer, matrix model.Matrix) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.begin(a, d.now)
	for _, series := range matrix {
		if series == nil {
			return doubtf("a series is null")
		}
		text, err := json.Marshal(series.Metric)
		if err != nil {
			return fmt.Errorf("write labels: %w", err)
		}
		m := d.metric(&scanner{data: text})
		if m == nil {
			return doubtf("a series has no labels")
		}
		st := stream{metric: m, from: len(a.samples), histogramFrom: len(a.histograms)}
		for _, pair := range series.Values {
			a.samples = append(a.samples, sample{int64(pair.Timestamp), float64(pair.Value)})
		}
		for _, pair := range series.Histograms {
			if pair.Histogram == nil {
				return doubtf("a histogram is null")
			}
			h := histogram{at: int64(pair.Timestamp), count: float64(pair.Histogram.Count), sum: float64(pair.Histogram.Sum), from: len(a.buckets)}
			for _, b := range pair.Histogram.Buckets {
				if b == nil {
					return doubtf("a bucket is null")
				}
				a.buckets = append(a.buckets, bucket{int(b.Boundaries), float64(b.Lower), float64(b.Upper), float64(b.Count)})
			}
			h.to = len(a.buckets)
			a.histograms = append(a.histograms, h)
		}
		st.to, st.histogramTo = len(a.samples), len(a.histograms)
		a.add(st)
	}
	return nil
}
