package ledger

import (
	"maps"
	"math/bits"
	"slices"
	"time"
)

// account counts ends; a Tally is its copy for others.
type account struct {
	id                  int64
	began               time.Time
	done, lost          uint64
	returned            uint64
	firstLost, lastLost *time.Time
	reasons             map[string]uint64
	samples             []Sample
	versions            map[string]*versionAccount
}

type versionAccount struct {
	counts Version
	took   histogram
}

func newAccount(id int64, at time.Time) *account {
	return &account{id: id, began: at, reasons: map[string]uint64{}, versions: map[string]*versionAccount{}}
}

func (a *account) add(at time.Time, took time.Duration, slow bool, end End) {
	a.done++
	if end.Lost != "" {
		a.lost++
		if a.firstLost == nil {
			a.firstLost = &at
		}
		a.lastLost = &at
		a.reasons[bounded(a.reasons, end.Lost)]++
		if len(a.samples) < maxSamples {
			a.samples = append(a.samples, Sample{At: at, Reason: end.Lost, Detail: end.Detail})
		}
		return
	}
	if end.Returned {
		a.returned++
	}
	name := bounded(a.versions, end.Version)
	v := a.versions[name]
	if v == nil {
		v = &versionAccount{counts: Version{First: at, Statuses: map[int]uint64{}}}
		a.versions[name] = v
	}
	v.add(at, took, slow, end.Status)
}

func (v *versionAccount) add(at time.Time, took time.Duration, slow bool, status int) {
	c := &v.counts
	c.Requests++
	c.Last = at
	c.Statuses[status]++
	if status >= 500 {
		c.Errors++
	}
	if slow {
		c.Slow++
	}
	if slow || status >= 500 {
		c.Bad++
		if c.FirstBad == nil {
			c.FirstBad = &at
		}
		c.LastBad = &at
	}
	v.took.add(took)
}

func (a *account) tally() Tally {
	t := Tally{
		ID: a.id, Began: a.began, Done: a.done, Lost: a.lost, FirstLost: a.firstLost, LastLost: a.lastLost, Returned: a.returned,
		Reasons: maps.Clone(a.reasons), Samples: slices.Clone(a.samples), Versions: make(map[string]Version, len(a.versions)),
	}
	for name, v := range a.versions {
		c := v.counts
		c.Statuses = maps.Clone(c.Statuses)
		c.Latency = v.took.latency()
		t.Versions[name] = c
	}
	return t
}

// histogram counts durations in buckets that grow with the duration: sixteen for every power of two
// of microseconds, up to about an hour.
type histogram struct {
	buckets [512]uint64
	count   uint64
	max     time.Duration
}

func (h *histogram) add(d time.Duration) {
	h.count++
	h.max = max(h.max, d)
	h.buckets[min(bucket(d), len(h.buckets)-1)]++
}

func bucket(d time.Duration) int {
	us := uint64(max(d, 0) / time.Microsecond)
	if us < 16 {
		return int(us)
	}
	shift := bits.Len64(us) - 5 // 16 <= us>>shift < 32
	return (shift+1)*16 + int(us>>shift) - 16
}

// upper is the smallest duration beyond bucket i.
func upper(i int) time.Duration {
	if i < 16 {
		return time.Duration(i+1) * time.Microsecond
	}
	shift := i/16 - 1
	return time.Duration(uint64(i%16+16+1)<<shift) * time.Microsecond
}

func (h *histogram) latency() Latency {
	ms := func(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
	return Latency{P50: ms(h.quantile(50)), P90: ms(h.quantile(90)), P99: ms(h.quantile(99)), Max: ms(h.max)}
}

// quantile returns an upper bound of the duration that percent of 100 do not exceed.
func (h *histogram) quantile(percent uint64) time.Duration {
	rank := (h.count*percent + 99) / 100
	var seen uint64
	for i, n := range h.buckets[:len(h.buckets)-1] { // the last one has no end
		if seen += n; n > 0 && seen >= rank {
			return min(upper(i), h.max)
		}
	}
	return h.max
}
