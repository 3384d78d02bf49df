package prometheus

import (
	"cmp"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	diff "github.com/google/go-cmp/cmp"
	"github.com/prometheus/common/model"

	"github.com/sluice-mesh/sluice/analysis"
)

// ask answers what a ledger asks for: the series of a matrix without those of cold weights.
func ask(l *ledger, d *decoder, matrix model.Matrix, cold weights) (series int, err error) {
	a := &answer{cold: cold}
	matrix = slices.DeleteFunc(matrix, func(s *model.SampleStream) bool {
		var weight uint32
		_, _ = fmt.Sscan(string(s.Metric["weight"]), &weight)
		return cold.has(weight)
	})
	if err := d.encode(a, matrix); err != nil {
		return 0, err
	}
	return len(matrix), l.add(a)
}

// presentAt is the weight that a climb is at.
func presentAt(now time.Time) uint32 { return uint32(2 + 2*(now.Sub(since)/(20*time.Second))) } //nolint:gosec // few

// climb makes scrapes, one a second, of sources that go through many weights, 20 s each. The last of them
// never hears of the newer weights, and serves a request now and then. At the second `restart` the first
// one restarts. After `busy` seconds nobody calls any more.
func climb(r *rand.Rand, busy, seconds, restart int) map[string][]snapshot {
	history := map[string][]snapshot{}
	for source := range 4 {
		values := map[labels]float64{}
		for weight := uint32(2); weight <= 44; weight += 2 { // registered long before they are used
			values[labels{startedName, "new", weight, "", ""}] = 0
		}
		for second := range seconds {
			at := since.UnixMilli() + int64(1000*second+200*source+100)
			weight, n := presentAt(time.UnixMilli(at)), 1+r.IntN(20)
			if source == 3 {
				weight, n = 2, 0
				if r.IntN(45) == 0 {
					n = 1
				}
			}
			if second > busy {
				n = 0
			}
			if source == 0 && second == restart {
				values = map[labels]float64{}
			}
			for _, revision := range []string{"new", "old"} {
				values[labels{startedName, revision, weight, "", ""}] += float64(n)
				values[labels{totalName, revision, weight, "200", ""}] += float64(n)
				values[labels{bucketName, revision, weight, "2xx", "+Inf"}] += float64(n)
				values[labels{bucketName, revision, weight, "2xx", "0.25"}] += float64(r.IntN(n + 1))
			}
			name := fmt.Sprint("source-", source)
			history[name] = append(history[name], snapshot{at, at, maps.Clone(values)})
		}
	}
	return history
}

// Weights that have come to rest are asked for in turn only, and nothing that is counted there is lost.
func TestColdWeights(t *testing.T) {
	const busy, seconds = 400, 520
	for seed := range uint64(3) {
		r := rand.New(rand.NewPCG(seed, 3)) //nolint:gosec // a simulation
		history, d := climb(r, busy, seconds, seconds), newDecoder()
		thrifty, whole := newLedger(release, quarter, time.Second), newLedger(release, quarter, time.Second)
		asked, all := 0, 0
		for now := since; now.Before(since.Add(seconds * time.Second)); now = now.Add(time.Duration(200+r.IntN(800)) * time.Millisecond) {
			matrix := matrixOf(history, thrifty.from().UnixMilli(), now.UnixMilli(), now.UnixMilli())
			all += len(matrix)
			n, err := ask(thrifty, d, matrix, thrifty.cold(presentAt(now), now))
			if err != nil {
				t.Fatalf("seed %d, after %v: %v", seed, now.Sub(since), err)
			}
			asked += n
			present, begun := presentAt(now), 0.
			for _, scrapes := range history {
				newest, _ := slices.BinarySearchFunc(scrapes, now.UnixMilli()+1, func(s snapshot, at int64) int { return cmp.Compare(s.at, at) })
				if newest > 0 {
					begun += scrapes[newest-1].values[labels{startedName, "new", present, "", ""}]
				}
			}
			if got := at(thrifty.evidence(), present).Seen.Canary.Started; got != uint64(begun) {
				t.Fatalf("seed %d, after %v: %d begun at the present weight, %d, want %v", seed, now.Sub(since), got, present, begun)
			}
		}
		if _, err := ask(whole, d, matrixOf(history, 0, since.Add(time.Hour).UnixMilli(), since.Add(time.Hour).UnixMilli()), weights{}); err != nil {
			t.Fatal(err)
		}
		if d := diff.Diff(whole.evidence().Strata, thrifty.evidence().Strata); d != "" {
			t.Fatalf("seed %d (-whole +thrifty):\n%s", seed, d)
		}
		if asked*3 > all {
			t.Errorf("seed %d: %d of %d series asked for, want less than a third", seed, asked, all)
		}
	}
}

// A restart costs one interval, also where it is found out at a cold weight later.
func TestARestartWithColdWeights(t *testing.T) {
	const seconds = 200
	for seed := range uint64(3) {
		for _, restart := range []int{150, 160} { // within a weight, and between two
			r := rand.New(rand.NewPCG(seed, 4)) //nolint:gosec // a simulation
			history, d := climb(r, seconds, seconds, restart), newDecoder()
			thrifty, whole := newLedger(release, quarter, time.Second), newLedger(release, quarter, time.Second)
			for now := since; now.Before(since.Add(seconds * time.Second)); now = now.Add(time.Duration(200+r.IntN(800)) * time.Millisecond) {
				matrix := matrixOf(history, thrifty.from().UnixMilli(), now.UnixMilli(), now.UnixMilli())
				if _, err := ask(thrifty, d, matrix, thrifty.cold(presentAt(now), now)); err != nil {
					t.Fatalf("seed %d, after %v: %v", seed, now.Sub(since), err)
				}
			}
			end := since.Add(seconds * time.Second).UnixMilli()
			if _, err := ask(whole, d, matrixOf(history, 0, end, end), weights{}); err != nil {
				t.Fatal(err)
			}
			if whole.dropped != 1 || thrifty.dropped > 1 {
				t.Errorf("seed %d: %d and %d intervals dropped, want one each", seed, whole.dropped, thrifty.dropped)
			}
			sum := func(e analysis.Evidence) (canary, control float64) {
				for _, s := range e.Strata {
					canary, control = canary+float64(s.Seen.Canary.Answered), control+float64(s.Seen.Control.Answered)
				}
				return canary, control
			}
			canary, control := sum(thrifty.evidence())
			if all, _ := sum(whole.evidence()); canary != control || canary < all-100 || canary > all+100 {
				t.Errorf("seed %d: %v and %v requests, want both alike, about %v", seed, canary, control, all)
			}
		}
	}
}

func TestWeightsMatcher(t *testing.T) {
	var cold weights
	if got := cold.matcher(); got != "0?" {
		t.Errorf("got %q", got)
	}
	for _, w := range []uint32{100, 2, 64, 63} {
		cold.add(w)
	}
	if got := cold.matcher(); got != "0?|2|63|64|100" || !cold.has(64) || cold.has(65) || cold.has(200) {
		t.Errorf("got %q", got)
	}
	other := weights{}
	other.add(64)
	other.add(5)
	if got := cold.and(other).matcher(); got != "0?|64" {
		t.Errorf("got %q", got)
	}
}

// Each weight has its turn, however far apart the looks are.
func TestTurns(t *testing.T) {
	for _, apart := range []time.Duration{100 * time.Millisecond, time.Second, 2 * time.Second, 6 * time.Second, time.Minute} {
		l := newLedger(release, quarter, time.Second)
		for weight := uint32(2); weight <= 8; weight += 2 {
			l.stratumOf(weight)
		}
		l.newest = since.Add(time.Hour).UnixMilli()
		turns, now := map[uint32]int{}, since.Add(time.Hour)
		for range 400 {
			cold := l.cold(8, now)
			for _, weight := range []uint32{2, 4, 6} {
				if !cold.has(weight) {
					turns[weight]++
				}
			}
			if cold.has(8) {
				t.Fatal("the present weight is cold")
			}
			now = now.Add(apart)
		}
		for _, weight := range []uint32{2, 4, 6} {
			if turns[weight] < 100 {
				t.Errorf("every %v: %d %% was asked for %d times of 400: %v", apart, weight, turns[weight], turns)
			}
		}
	}
}
