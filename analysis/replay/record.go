package replay

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/prometheus/common/model"

	"github.com/sluice-mesh/sluice/analysis"
	"github.com/sluice-mesh/sluice/analysis/prometheus"
)

// Request says what to record.
type Request struct {
	Namespace, Service string
	// From and Until are the time that the release is in.
	From, Until time.Time
	// Want names revisions of Sluice's series; what is empty is found out.
	Want Want
	// Foreign says how series of another mesh are read; nil: they are those of Sluice's proxies.
	Foreign *Foreign
	// Boundaries where requests count as slow; empty: chosen. Threshold is a further one, where above 0.
	// Of foreign series everything is recorded, and they are chosen later.
	Boundaries []time.Duration
	Threshold  time.Duration
	// Progress, when not nil, is called with what is being read, the time that was come to, and the end.
	Progress func(what string, at, end time.Time)
}

const (
	// piece is how much time is asked for at once; leastPiece, at least, where answers are too large.
	piece, leastPiece = 5 * time.Minute, 15 * time.Second
	// after is how much is recorded beyond the end of a release, so that its last scrapes are in it.
	after = time.Minute
)

// Record reads what the request says and writes it as begin has it, which is called once it is known what
// the recording is of.
func Record(ctx context.Context, server *prometheus.Sampler, r Request, begin func(Header) (*Writer, error)) error {
	h := Header{From: r.From.UTC(), Until: r.Until.UTC(), Namespace: r.Namespace, Service: r.Service, Foreign: r.Foreign}
	from, until := r.From.Add(-lookback), r.Until
	if r.Foreign != nil {
		selectors, err := r.Foreign.Selectors()
		if err != nil {
			return err
		}
		w, err := begin(h)
		if err != nil {
			return err
		}
		if err := read(ctx, server, selectors, from, until, r.telling("requests"), w.Add); err != nil {
			return err
		}
		return w.Close()
	}
	found, err := survey(ctx, server, r)
	if err != nil {
		return err
	}
	release := analysis.Release{
		Namespace: r.Namespace, Service: r.Service, Stable: found.Stable, Canary: found.Canary, Control: found.Control,
		Since: found.Weights[0].At, Boundaries: r.Boundaries, Threshold: r.Threshold,
	}
	bounds, err := server.Boundaries(ctx, release)
	if err != nil {
		return fmt.Errorf("choose boundaries: %w", err)
	}
	found.BoundarySeconds = seconds(bounds)
	if found.PodSpread, found.ControlPods, err = server.PodSpread(ctx, release); err != nil {
		return fmt.Errorf("compare the pods of stable: %w", err)
	}
	h.Release = &found
	w, err := begin(h)
	if err != nil {
		return err
	}
	if end := found.Until.Add(after); end.Before(until) {
		until = end
	}
	tell := r.telling("requests")
	err = server.Fetch(ctx, release, release.Since.Add(-lookback), until, func(matrix model.Matrix) error {
		if _, newest, some := extent(matrix); some {
			tell(time.UnixMilli(newest), until)
		}
		return w.Add(matrix)
	})
	if err != nil {
		return err
	}
	return w.Close()
}

// telling tells about one reading.
func (r Request) telling(what string) func(at, end time.Time) {
	return func(at, end time.Time) {
		if r.Progress != nil {
			r.Progress(what, at, end)
		}
	}
}

// survey finds the release in a server's series.
func survey(ctx context.Context, server *prometheus.Sampler, r Request) (Release, error) {
	s := NewSurvey(r.Want, r.From)
	selector := Selector{Name: startedName, Matchers: []Matcher{
		{Label: "namespace", Operator: "=", Value: r.Namespace}, {Label: "service", Operator: "=", Value: r.Service},
	}}
	err := read(ctx, server, []string{selector.String()}, r.From.Add(-lookback), r.Until, r.telling("releases"), s.Add)
	if err != nil {
		return Release{}, err
	}
	return s.Find()
}

// read hands on the raw samples of several selectors together, piece by piece.
func read(ctx context.Context, server *prometheus.Sampler, selectors []string, from, until time.Time, tell func(at, end time.Time), each func(model.Matrix) error) error {
	from, until = from.Truncate(time.Millisecond), until.Truncate(time.Millisecond)
	length := piece
	for from.Before(until) {
		end := until
		if from.Add(length).Before(end) {
			end = from.Add(length)
		}
		var all model.Matrix
		var err error
		for _, selector := range selectors {
			var matrix model.Matrix
			if matrix, err = server.Raw(ctx, selector, from, end); err != nil {
				break
			}
			all = append(all, matrix...)
		}
		if prometheus.TooLarge(err) && end.Sub(from) > leastPiece {
			length = max(end.Sub(from)/2, leastPiece)
			continue
		}
		if err != nil {
			return err
		}
		slices.SortFunc(all, func(a, b *model.SampleStream) int {
			if a.Metric.Before(b.Metric) {
				return -1
			}
			return 1
		})
		if err := each(all); err != nil {
			return err
		}
		tell(end, until)
		from = end
	}
	return nil
}
