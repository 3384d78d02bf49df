package prometheus

import (
	"errors"
	"slices"
	"time"

	"github.com/prometheus/common/model"

	"github.com/sluice-mesh/sluice/analysis"
)

// Tape makes evidence of raw samples that were recorded, exactly as a Sampler makes it of those that it
// fetches. It is not safe for concurrent use.
//
// Bounds are those at or just above Release.Boundaries and Release.Threshold that the first samples of
// durations have; without boundaries the usual ones, 50 ms, 250 ms, 1 s and 5 s, since a Tape knows
// nothing of the time before the release. Sampler.Boundaries does.
type Tape struct {
	release  analysis.Release
	decoder  *decoder
	ledger   *ledger
	measured bool
	pending  []*answer // rising in time
	booked   []*answer // to read again, of native histograms
	doubt    string
}

// NewTape makes an empty tape for a release.
func NewTape(release analysis.Release) *Tape {
	return &Tape{release: release, decoder: newDecoder(), ledger: newLedger(release, scale{}, 0)}
}

// Add adds raw samples, as Sampler.Fetch or the server's API give them for a range selector. Matrices
// follow each other in time, overlapping or not; they may be added ahead of the time that Evidence is
// asked for. Series that the release is not judged by are passed over. What is odd about the samples is
// told in Evidence.Doubt; an error means that the matrix is none, and it is left out.
func (t *Tape) Add(matrix model.Matrix) error {
	a := &answer{}
	if err := t.decoder.encode(a, matrix); err != nil {
		return err
	}
	t.measure(matrix)
	t.pending = append(t.pending, a)
	return nil
}

// measure finds out how durations are counted, from the first matrix that has any.
func (t *Tape) measure(matrix model.Matrix) {
	if t.measured {
		return
	}
	asked := t.release.Boundaries
	if len(asked) == 0 {
		asked = usual
	}
	if t.release.Threshold > 0 {
		asked = append(asked[:len(asked):len(asked)], t.release.Threshold)
	}
	var values model.LabelValues
	natives := false
	for _, s := range matrix {
		if s.Metric["namespace"] != model.LabelValue(t.release.Namespace) || s.Metric["service"] != model.LabelValue(t.release.Service) {
			continue
		}
		switch s.Metric[model.MetricNameLabel] {
		case bucketName:
			values = append(values, s.Metric["le"])
		case durationName:
			natives = true
		}
	}
	slices.Sort(values)
	switch there := parseBounds(slices.Compact(values)); {
	case len(there) > 0:
		t.measured = true
		t.restart(scale{bounds: pick(there, asked)})
	case natives:
		t.measured = true
		t.restart(scale{native: true, bounds: exact(asked)})
	}
}

// restart begins to read anew.
func (t *Tape) restart(s scale) {
	t.ledger = newLedger(t.release, s, 0)
	t.pending = append(t.booked, t.pending...)
	t.booked = nil
}

// Evidence is what a Sampler would have said at the time now: samples after it do not count yet. The time
// must not go back.
func (t *Tape) Evidence(now time.Time) analysis.Evidence {
	for t.doubt == "" && len(t.pending) > 0 {
		a := t.pending[0]
		early, rest := a.split(now.UnixMilli())
		if early == nil {
			break
		}
		err := t.ledger.add(early)
		if errors.Is(err, errRaised) {
			t.restart(t.ledger.scale.raise(t.ledger.raised))
			continue
		}
		if err != nil {
			t.doubt = err.Error()
		}
		if t.booked = append(t.booked, early); t.measured && !t.ledger.scale.native {
			t.booked = nil
		}
		if t.pending[0] = rest; rest == nil {
			t.pending = t.pending[1:]
		}
	}
	if t.doubt != "" {
		return analysis.Evidence{Doubt: t.doubt}
	}
	return t.ledger.evidence()
}
