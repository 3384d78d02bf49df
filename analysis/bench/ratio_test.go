package bench

import (
	"math"
	"testing"
)

// D by its definition, for a cell that can be worked out by hand: 50 rps, 0.9 %, r = 2, five steps with 235 s
// each that are tested, but for the second, which adds no pods and is tested whole. KL(q || pi) in nats was computed with bc -l at the weights, q = 2 pi / (1 + pi).
func TestInformation(t *testing.T) {
	d, beyond := worse(50, .009, 2).D()
	want := 0.
	for weight, divergence := range map[float64]float64{
		.05: .017223853, .10: .030716580, .20: .048727503, .30: .057549819, .50: .056633012,
	} {
		tested := 235.
		if weight == .10 {
			tested = 300
		}
		want += 50 * tested * .009 * (1 + weight) * divergence
	}
	if math.Abs(d-want) > 1e-6*want {
		t.Errorf("D = %v, want %v", d, want)
	}
	if !(beyond > .75*d && beyond < .9*d) {
		t.Errorf("beyond what is tolerated %v of %v", beyond, d)
	}
	if d, beyond := quiet10().D(); d != beyond || d < 20 {
		t.Errorf("without tolerance D is %v, beyond it %v", d, beyond)
	}
	// 0.1 % -> 0.11 % is tolerated: 1.05 times and .01 % on top.
	if d, beyond := worse(50, .001, 1.1).D(); !(d > 0) || beyond != 0 {
		t.Errorf("D = %v, beyond what is tolerated %v", d, beyond)
	}
}

func quiet10() Cell {
	for _, cell := range Cells() {
		if cell.Name == quietCell {
			return cell
		}
	}
	return Cell{}
}

// The mean of ln LR over releases that are not stopped is what information says.
func TestInformationIsTheMean(t *testing.T) {
	const traces = 400
	for _, cell := range []Cell{worse(50, .009, 2), durations("slow", "")} {
		if cell.Latency {
			cell.Slower = 1.5
		}
		_, beyond := cell.D()
		sum, squares := 0., 0.
		for trace := range uint64(traces) {
			judge := newRatio(cell)
			// A judge that looks but never stops.
			Play(cell, Contender{
				New:    func(Cell, uint64) Judge { return patient{judge} },
				Bounds: Ratio.Bounds,
			}, trace)
			l := judge.logRatio()
			sum += l
			squares += l * l
		}
		mean := sum / traces
		deviation := math.Sqrt((squares/traces - mean*mean) / traces)
		if math.Abs(mean-beyond) > 5*deviation { // chance 6e-7
			t.Errorf("%s: the mean of ln LR is %v +- %v, D is %v", cell.Name, mean, deviation, beyond)
		}
	}
}

// patient never rolls back.
type patient struct{ *ratio }

func (p patient) Look(moment Moment) Decision {
	if p.ratio.Look(moment) == RollBack {
		return Advance
	}
	return p.ratio.Look(moment)
}

// The ratio test is wrong in at most alpha of the releases at the edge of what is tolerated (Ville).
func TestRatioIsRight(t *testing.T) {
	cell := same(200, .009)
	cell.Ratio = 1.05 + .0001/.009 // just tolerated; the test looks for twice that
	cell.Name = "edge"
	wrong := 0
	const traces = 500
	for trace := range uint64(traces) {
		if Play(cell, Ratio, trace).Ending == RolledBack {
			wrong++
		}
	}
	// At most 25 are to be expected, with a deviation of 4.9.
	if wrong > 25+4*5 || wrong == 0 {
		t.Errorf("%d of %d wrongly rolled back", wrong, traces)
	}
}
