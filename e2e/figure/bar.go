package figure

import "math"

// Bar bounds a value, both included.
type Bar struct{ Least, Most float64 }

// AtLeast is the bar of a value that had better be high.
func AtLeast(v float64) Bar { return Bar{v, math.Inf(1)} }

// AtMost is the bar of a value that had better be low.
func AtMost(v float64) Bar { return Bar{math.Inf(-1), v} }

// Exactly is the bar of a value that is right or wrong.
func Exactly(v float64) Bar { return Bar{v, v} }

// Bars of a benchmark, by the names of the figures.
type Bars map[string]Bar

// New is a figure with the bar that its name has, if any. The value is rounded to three digits after the
// point before it is compared.
func (bars Bars) New(name, unit string, value float64, note string) Result {
	r := Result{Name: name, Value: round(value), Unit: unit, OK: true, Note: note}
	if bar, held := bars[name]; held {
		r.Bar, r.OK = bar.String(), bar.holds(r.Value)
	}
	return r
}

func (b Bar) holds(value float64) bool { return value >= b.Least && value <= b.Most }

// String is the bar as a condition: "<= 300".
func (b Bar) String() string {
	switch {
	case b.Least == b.Most:
		return "= " + number(b.Least)
	case math.IsInf(b.Most, 1):
		return ">= " + number(b.Least)
	default:
		return "<= " + number(b.Most)
	}
}
