package telemetry

import (
	"math"
	"math/bits"
	"slices"
	"time"
)

// Buckets are the bounds of the classic duration histogram in seconds; the judge relies on them.
var Buckets = []float64{
	.001, .0025, .005, .01, .025, .05, .075, .1, .15, .2, .25, .3, .4, .5, .75, 1, 1.5, 2, 3, 5, 7.5, 10, 30, 60,
}

// The native histogram divides each power of two into eight buckets: bucket k holds durations up to 2^(k/8)
// seconds. Durations up to zeroThreshold (61 microseconds) are in its zero bucket; those beyond the last
// bucket (12 days) count in that.
const (
	schema      = 3
	perOctave   = 1 << schema
	zeroOctave  = -14
	firstNative = zeroOctave*perOctave + 1
	lastNative  = 20 * perOctave
)

var zeroThreshold = math.Exp2(zeroOctave)

// A cell is a range of durations that no bound of either histogram lies within, so that a duration is
// counted in one cell and both histograms are sums of cells.
type cell struct {
	upTo    uint64 // nanoseconds, included
	classic int    // index in Buckets; len(Buckets): above them all
	native  int    // bucket; firstNative-1: the zero bucket
}

var (
	cells = makeCells()
	// firstCells is, for each possible beginning of a number (its length in bits and the three bits after
	// its first), the first cell that such a number can be in.
	firstCells = makeFirstCells()
)

func makeCells() []cell {
	classic := make([]uint64, len(Buckets))
	for i, bound := range Buckets {
		classic[i] = uint64(math.Round(bound * 1e9))
	}
	native := make([]uint64, 0, lastNative-firstNative+2)
	for k := firstNative - 1; k <= lastNative; k++ {
		native = append(native, uint64(math.Exp2(float64(k)/perOctave)*1e9))
	}
	native[len(native)-1] = math.MaxUint64
	bounds := slices.Concat(classic, native)
	slices.Sort(bounds)
	bounds = slices.Compact(bounds)
	made := make([]cell, len(bounds))
	for i, bound := range bounds {
		c, _ := slices.BinarySearch(classic, bound)
		n, _ := slices.BinarySearch(native, bound)
		made[i] = cell{upTo: bound, classic: c, native: firstNative - 1 + n}
	}
	return made
}

func makeFirstCells() (first [65 * 8]uint16) {
	for length := range 65 {
		for next := range 8 {
			least := uint64(8+next) << 60 >> (64 - length)
			at, _ := slices.BinarySearchFunc(cells, least, func(c cell, n uint64) int {
				if c.upTo < n {
					return -1
				}
				return 1
			})
			first[length*8+next] = uint16(at) //nolint:gosec // there are some hundred cells
		}
	}
	return first
}

// cellOf returns the index of the cell that a duration is in.
func cellOf(d time.Duration) int {
	n := uint64(max(d, 0))
	length := bits.Len64(n)
	at := int(firstCells[length*8+int(n<<(64-length)>>60&7)])
	for n > cells[at].upTo {
		at++
	}
	return at
}
