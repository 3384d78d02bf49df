package prometheus

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/common/model"

	"github.com/sluice-mesh/sluice/analysis"
)

// snapshot is one scrape of a source: all its series. It can be queried from seen on.
type snapshot struct {
	at, seen int64
	values   map[labels]float64
}

// labels tell the series of one source apart.
type labels struct {
	name, revision string
	weight         uint32
	code, le       string
}

// dumb is the evidence by the words of the package comment, from all scrapes at once: slow, without memory
// and without any of the ledger's code but what a release is.
func dumb(history map[string][]snapshot, release analysis.Release, bounds []time.Duration, interval time.Duration) analysis.Evidence {
	e := analysis.Evidence{Strata: []analysis.Stratum{}, Boundaries: bounds, Patience: 10 * time.Second, Interval: interval}
	newest, weights := int64(0), map[uint32]bool{}
	for _, scrapes := range history {
		for _, s := range scrapes {
			newest = max(newest, s.at)
			for l := range s.values {
				weights[l.weight] = true
			}
		}
	}
	e.Newest = time.UnixMilli(newest)
	since := release.Since.UnixMilli()
	deltas := map[bool]map[labels]float64{false: {}, true: {}} // by whether tested
	type lane struct {
		tested   bool
		weight   uint32
		revision string
	}
	type age struct{ unfinished, hanging, overdue0, overdue1 uint64 }
	ages := map[lane]age{}
	for _, scrapes := range history {
		reset := 0
		uncounted := map[bool]int{false: -1, true: -1}
		for i, s := range scrapes {
			before, last := since-120_000, int64(0)
			var prior map[labels]float64
			if i > 0 {
				before, last, prior = scrapes[i-1].at, scrapes[i-1].at, scrapes[i-1].values
			}
			fell := false
			for l, value := range prior {
				fell = fell || s.values[l] < value
			}
			long := s.at-before > 3_600_000
			if fell && !long && s.at > since {
				e.Dropped++
			}
			if fell || long {
				reset = i
			}
			counts := !fell && !long && s.at > since
			touched := false
			for _, w := range release.WarmUps {
				touched = touched || w.From.Before(w.Until) && s.at >= w.From.UnixMilli() && last < w.Until.UnixMilli()
			}
			if !counts {
				uncounted[false] = i
			}
			if !counts || touched {
				uncounted[true] = i
			}
			if !counts {
				continue
			}
			for l, value := range s.values {
				deltas[false][l] += value - prior[l]
				if !touched {
					deltas[true][l] += value - prior[l]
				}
			}
		}
		end := scrapes[len(scrapes)-1]
		if newest-end.at <= 3_600_000 {
			e.Sources++
		}
		if newest-end.at > 3*interval.Milliseconds() {
			continue
		}
		for w := range weights {
			for _, r := range []string{release.Canary, release.Stable} {
				for _, tested := range []bool{false, true} {
					sum := func(s snapshot, name string) (n float64) {
						for l, value := range s.values {
							if l.name == name && l.weight == w && l.revision == r {
								n += value
							}
						}
						return n
					}
					pending := 0.
					if i := uncounted[tested]; i >= 0 {
						pending = max(0, sum(scrapes[i], startedName)-sum(scrapes[i], totalName))
					}
					older := func(age time.Duration) uint64 {
						for i := len(scrapes) - 1; i >= reset; i-- {
							if scrapes[i].at <= end.at-age.Milliseconds() {
								return uint64(max(0, sum(scrapes[i], startedName)-sum(end, totalName)-pending))
							}
						}
						return 0
					}
					at := ages[lane{tested, w, r}]
					at.unfinished += uint64(max(0, sum(end, startedName)-sum(end, totalName)-pending))
					at.hanging += older(10 * time.Second)
					at.overdue0 += older(bounds[0])
					at.overdue1 += older(bounds[1])
					ages[lane{tested, w, r}] = at
				}
			}
		}
	}
	for _, w := range slices.Sorted(maps.Keys(weights)) {
		requests := func(tested bool, revision string) analysis.Requests {
			sum := func(name, code, le string) uint64 {
				n := 0.
				for l, value := range deltas[tested] {
					if l.weight == w && l.revision == revision && l.name == name && l.le == le && (code == "" || code == l.code) {
						n += value
					}
				}
				return uint64(n)
			}
			r := analysis.Requests{Started: sum(startedName, "", ""), Failed: sum(totalName, "503", "") + sum(totalName, "0", "")}
			gaveUp := sum(totalName, "499", "")
			for i, le := range []string{"0.1", "0.25"} {
				over := sum(bucketName, "4xx", "+Inf") - sum(bucketName, "4xx", le)
				if i == 0 {
					late := min(over, gaveUp)
					r.Answered = sum(totalName, "", "") - gaveUp + late
					r.Cancelled = gaveUp - late
				}
				over += sum(bucketName, "2xx", "+Inf") - sum(bucketName, "2xx", le)
				r.Slow = append(r.Slow, min(over, r.Answered-r.Failed))
			}
			a := ages[lane{tested, w, revision}]
			r.Unfinished = min(a.unfinished, r.Started)
			r.Hanging = min(a.hanging, r.Unfinished)
			r.Overdue = []uint64{min(a.overdue0, r.Unfinished), min(a.overdue1, r.Unfinished)}
			return r
		}
		s := analysis.Stratum{Weight: w}
		s.Seen.Canary, s.Seen.Control = requests(false, release.Canary), requests(false, release.Stable)
		s.Tested.Canary, s.Tested.Control = requests(true, release.Canary), requests(true, release.Stable)
		if s.Seen.Canary.Started+s.Seen.Canary.Answered+s.Seen.Canary.Cancelled+s.Seen.Control.Started+s.Seen.Control.Answered+s.Seen.Control.Cancelled > 0 {
			e.Strata = append(e.Strata, s)
		}
	}
	return e
}

// invent makes scrapes of some sources: requests that end well, badly, late or never, at weights that
// change, with resets, missed scrapes, long silences, sources that come later, and series that appear with
// their first request.
func invent(r *rand.Rand, release analysis.Release, length, interval time.Duration) map[string][]snapshot {
	history := map[string][]snapshot{}
	for source := range 1 + r.IntN(4) {
		values := map[labels]float64{}
		var scrapes []snapshot
		at := release.Since.Add(-3*time.Minute + time.Duration(r.IntN(15_000))*time.Millisecond)
		if r.IntN(3) == 0 {
			at = at.Add(time.Duration(r.Int64N(int64(length))))
		}
		end := release.Since.Add(length)
		if r.IntN(5) == 0 {
			end = end.Add(-time.Duration(r.Int64N(int64(length))))
		}
		for ; at.Before(end); at = at.Add(interval) {
			weight := []uint32{5, 20, 50, 100}[min(max(int(4*at.Sub(release.Since)/length), 0), 3)]
			for _, revision := range []string{release.Canary, release.Stable} {
				add := func(name, code, le string, n float64) { values[labels{name, revision, weight, code, le}] += n }
				add(startedName, "", "", 0)
				add(totalName, "200", "", 0)
				for _, le := range []string{"0.1", "0.25", "+Inf"} {
					add(bucketName, "2xx", le, 0)
				}
				for range r.IntN(30) {
					add(startedName, "", "", 1)
					code := []string{"200", "200", "200", "200", "200", "200", "404", "499", "503", "0", ""}[r.IntN(11)]
					if code == "" {
						continue // hangs
					}
					add(totalName, code, "", 1)
					class := map[string]string{"200": "2xx", "404": "4xx", "499": "4xx"}[code]
					if class == "" {
						continue
					}
					add(bucketName, class, "+Inf", 1)
					quick, quicker := 0., 0.
					switch r.IntN(4) {
					case 0:
					case 1:
						quick = 1
					default:
						quick, quicker = 1, 1
					}
					add(bucketName, class, "0.25", quick)
					add(bucketName, class, "0.1", quicker)
				}
			}
			switch r.IntN(40) {
			case 0: // restarts
				values = map[labels]float64{}
			case 1, 2, 3, 4: // a scrape is missed
				continue
			case 5:
				if r.IntN(10) == 0 {
					at = at.Add(time.Duration(r.IntN(100)) * time.Minute)
				}
			}
			if t := at.UnixMilli(); len(values) > 0 && at.Before(end) {
				scrapes = append(scrapes, snapshot{t, t + r.Int64N(interval.Milliseconds()), maps.Clone(values)})
			}
		}
		if len(scrapes) > 0 {
			history[fmt.Sprint("source-", source)] = scrapes
		}
	}
	return history
}

// before are the scrapes that matter, of those that can be queried at a time.
func before(history map[string][]snapshot, start, now int64) map[string][]snapshot {
	cut := map[string][]snapshot{}
	for source, scrapes := range history {
		for _, s := range scrapes {
			if s.at > start && s.seen <= now {
				cut[source] = append(cut[source], s)
			}
		}
	}
	return cut
}

// matrixOf is what a server answers about (from, to], as far as it can be queried at a time.
func matrixOf(history map[string][]snapshot, from, to, now int64) model.Matrix {
	type series struct {
		source string
		labels labels
	}
	streams := map[series]*model.SampleStream{}
	for source, scrapes := range history {
		for _, s := range scrapes {
			if s.at <= from || s.at > to || s.seen > now {
				continue
			}
			for l, value := range s.values {
				stream := streams[series{source, l}]
				if stream == nil {
					stream = &model.SampleStream{Metric: metricOf(source, l)}
					streams[series{source, l}] = stream
				}
				stream.Values = append(stream.Values, model.SamplePair{Timestamp: model.Time(s.at), Value: model.SampleValue(value)})
			}
		}
	}
	return slices.Collect(maps.Values(streams)) // in no order
}

func metricOf(source string, l labels) model.Metric {
	metric := model.Metric{
		"__name__": model.LabelValue(l.name), "revision": model.LabelValue(l.revision), "weight": model.LabelValue(fmt.Sprint(l.weight)),
		"reporter": "source", "namespace": "shop", "service": "cart", "instance": model.LabelValue(source),
	}
	if l.code != "" {
		metric["code"] = model.LabelValue(l.code)
	}
	if l.le != "" {
		metric["le"] = model.LabelValue(l.le)
	}
	return metric
}

// Whatever happens to the sources and however it is read, the evidence is the oracle's. Seeded.
func TestTheLedgerAgreesWithADumbOracle(t *testing.T) {
	bounds := []time.Duration{100 * time.Millisecond, 250 * time.Millisecond}
	two := scale{bounds: []bound{{.1, []string{"0.1"}}, {.25, []string{"0.25"}}}}
	runs := uint64(30)
	if testing.Short() {
		runs = 8
	}
	strata, dropped, touched := 0, 0, 0
	for seed := range runs {
		r := rand.New(rand.NewPCG(seed, 7)) //nolint:gosec // a simulation
		length, interval := time.Duration(5+r.IntN(40))*time.Minute, 15*time.Second
		if seed%20 == 0 {
			length = 4 * time.Hour
		} else if seed%4 == 1 {
			interval = 4 * time.Second
		}
		asked := release
		asked.Boundaries = bounds
		for range r.IntN(4) {
			from := since.Add(time.Duration(r.Int64N(int64(length)))).Truncate(time.Millisecond)
			asked.WarmUps = append(asked.WarmUps, analysis.Window{From: from, Until: from.Add(time.Duration(r.IntN(120)) * time.Second)})
		}
		history := invent(r, asked, length, interval)
		start := since.Add(-lookback).UnixMilli()
		options := cmp.Options{cmp.Comparer(func(a, b time.Time) bool { return a.Equal(b) })}

		decoder, steady := newDecoder(), newLedger(asked, two, interval)
		tape := NewTape(asked)
		tape.ledger.interval = interval
		for now := since; now.Before(since.Add(length + 2*time.Minute)); now = now.Add(time.Duration(1+r.IntN(60)) * time.Second) {
			from := steady.from().UnixMilli()
			if err := feed(steady, decoder, matrixOf(history, from, now.UnixMilli(), now.UnixMilli())); err != nil {
				t.Fatalf("seed %d: %v", seed, err)
			}
			steady.read = now.UnixMilli()
			known := before(history, start, now.UnixMilli())
			if r.IntN(20) > 0 || len(known) == 0 {
				continue
			}
			// Scrapes that cannot be queried yet may be older than the newest that can, of another source; the
			// next reading comes back for them.
			if diff := cmp.Diff(dumb(known, asked, bounds, interval), steady.evidence(), options); diff != "" {
				t.Fatalf("seed %d, %v since: steady (-oracle +ledger):\n%s", seed, now.Sub(since), diff)
			}
		}
		end := since.Add(length + time.Hour).UnixMilli()
		known := before(history, start, end)
		if len(known) == 0 {
			continue
		}
		want := dumb(known, asked, bounds, interval)
		if diff := cmp.Diff(want, steady.evidence(), options); diff != "" {
			t.Fatalf("seed %d: steady (-oracle +ledger):\n%s", seed, diff)
		}
		whole := newLedger(asked, two, interval)
		if err := feed(whole, decoder, matrixOf(history, start, end, end)); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, whole.evidence(), options); diff != "" {
			t.Fatalf("seed %d: whole (-oracle +ledger):\n%s", seed, diff)
		}
		for from := start; from < end; from += 3_600_000 {
			if err := tape.Add(matrixOf(history, from, from+3_600_000, end)); err != nil {
				t.Fatal(err)
			}
		}
		tape.ledger.interval = interval
		for now := since; now.UnixMilli() < end; now = now.Add(time.Duration(1+r.IntN(10)) * time.Minute) {
			tape.Evidence(now)
		}
		if diff := cmp.Diff(want, tape.Evidence(time.UnixMilli(end)), options); diff != "" {
			t.Fatalf("seed %d: tape (-oracle +tape):\n%s", seed, diff)
		}
		strata, dropped = strata+len(want.Strata), dropped+want.Dropped
		for _, s := range want.Strata {
			if s.Tested.Canary.Answered < s.Seen.Canary.Answered {
				touched++
			}
		}
	}
	t.Logf("%d strata, %d of them with a warm-up, %d intervals dropped", strata, touched, dropped)
	if strata == 0 || dropped == 0 || touched == 0 {
		t.Error("nothing was tested")
	}
}

// A scrape of which some series can be queried later than others must not be read as a restart for good.
func TestSeriesThatAppearLate(t *testing.T) {
	d := newDecoder()
	l := newLedger(release, scale{}, time.Second)
	if err := feed(l, d, model.Matrix{line("is=started revision=new", 0, 100, 110, 120), line("is=total revision=new code=200", 0, 100, 110)}); err != nil {
		t.Fatal(err)
	}
	// Now all of the third scrape is there, and a fourth.
	full := model.Matrix{line("is=started revision=new", 0, 100, 110, 120, 130), line("is=total revision=new code=200", 0, 100, 110, 120, 130)}
	if err := feed(l, d, full); !errors.Is(err, errLate) {
		t.Fatalf("got %v, want that it is late", err)
	}
	// So is a series that was in none of them.
	l = newLedger(release, scale{}, time.Second)
	if err := feed(l, d, model.Matrix{full[0]}); err != nil {
		t.Fatal(err)
	}
	if err := feed(l, d, full); !errors.Is(err, errLate) {
		t.Fatalf("got %v, want that it is late", err)
	}
	// So is a whole scrape between two that are booked, as two servers in turn would have it.
	l = newLedger(release, scale{}, time.Second)
	odd := line("is=started revision=new", 0, 100, 110, 120)
	even := line("is=started revision=new", 0, 105, 115, 125, 135)
	for i := range even.Values {
		even.Values[i].Timestamp += 500
	}
	if err := feed(l, d, model.Matrix{odd}); err != nil {
		t.Fatal(err)
	}
	if err := feed(l, d, model.Matrix{even}); !errors.Is(err, errLate) {
		t.Fatalf("got %v, want that it is late", err)
	}
	// A series that begins after the booked scrapes is not late.
	l = newLedger(release, scale{}, time.Second)
	if err := feed(l, d, model.Matrix{line("is=started revision=new", 0, 1, 2, 3)}); err != nil {
		t.Fatal(err)
	}
	if err := feed(l, d, model.Matrix{line("is=started revision=new", 0, 1, 2, 3, 4), line("is=total revision=new code=500", 3, 1)}); err != nil {
		t.Fatal(err)
	}
}
