package stats

import (
	"fmt"
	"math"
	"testing"
)

// The values were made with mpmath 1.3.0 at 50 digits, as a sum of exact terms or, above n = 1000, as
// the regularised incomplete beta function:
//
//	python3 -c "import mpmath as m; m.mp.dps = 50; x, n, p = 5, 10, m.mpf('0.01')
//	print(m.nstr(m.fsum(m.binomial(n, k)*p**k*(1-p)**(n-k) for k in range(x, n+1)), 17))"
//	python3 -c "import mpmath as m; m.mp.dps = 50
//	print(m.nstr(m.betainc(1136, 100000-1136+1, 0, m.mpf('0.01'), regularized=True), 17))"
func TestBinomialTailMeetsReferenceValues(t *testing.T) {
	for _, c := range []struct {
		x, n uint64
		p    float64
		want float64
	}{
		{5, 10, .01, 2.416784319874e-8},
		{1, 1, .01, .01},
		{10, 20, .01, 1.6863605465421847e-15},
		{26, 1000, .01, 1.5586650529345423e-5},
		{48, 100, .01, 5.5866972864300168e-68},
		{0, 10, .5, 1},
		{10, 10, .001, 1e-30},
		{1136, 100000, .01, 1.2196173590856842e-5},
		{1300, 1000000, .001, 6.5814969779587715e-20},
		{101500, 10000000, .01, 9.9456853943093705e-7},
		{3, 50, .05, .45946687728048476},
	} {
		if got := BinomialTail(c.x, c.n, c.p); !near(got, c.want, 1e-12+5e-15*float64(c.n)) {
			t.Errorf("BinomialTail(%d, %d, %v) = %.17g, want %.17g", c.x, c.n, c.p, got, c.want)
		}
	}
}

// The values were made with mpmath 1.3.0 at 40 digits: 130 bisections each of betainc(x, n-x+1, 0, p,
// regularized=True) to (1-confidence)/2 and of betainc(x+1, n-x, 0, p, regularized=True) to
// (1+confidence)/2.
func TestBinomialIntervalMeetsReferenceValues(t *testing.T) {
	for _, c := range []struct {
		x, n                  uint64
		confidence, low, high float64
	}{
		{0, 50, .95, 0, .0711217364641977},
		{1, 50, .95, .000506227983040829, .1064695457115},
		{48, 100, .95, .379005480177959, .582210234593693},
		{5, 10, .95, .187086028447399, .812913971552601},
		{10, 10, .95, .691502892181239, 1},
		{12, 1000, .99, .00495816310834986, .0239984985366399},
		{0, 0, .95, 0, 1},
	} {
		low, high := BinomialInterval(c.x, c.n, c.confidence)
		if !near(low, c.low, 1e-10) || !near(high, c.high, 1e-10) {
			t.Errorf("BinomialInterval(%d, %d, %v) = %.15g, %.15g, want %.15g, %.15g", c.x, c.n, c.confidence, low, high, c.low, c.high)
		}
	}
}

func TestNonsenseIsNaN(t *testing.T) {
	for _, p := range []float64{-.1, 1.1, math.NaN(), math.Inf(1)} {
		if got := BinomialTail(1, 2, p); !math.IsNaN(got) {
			t.Errorf("BinomialTail(1, 2, %v) = %v, want NaN", p, got)
		}
		if got := BinomialHead(1, 2, p); !math.IsNaN(got) {
			t.Errorf("BinomialHead(1, 2, %v) = %v, want NaN", p, got)
		}
	}
	for _, c := range []struct {
		x, n       uint64
		confidence float64
	}{{3, 2, .95}, {1, 2, 0}, {1, 2, 1}, {1, 2, math.NaN()}} {
		if low, high := BinomialInterval(c.x, c.n, c.confidence); !math.IsNaN(low) || !math.IsNaN(high) {
			t.Errorf("BinomialInterval(%+v) = %v, %v, want NaN", c, low, high)
		}
	}
}

// sum is the oracle: the tail, term by term, in log space.
func sum(x, n uint64, p float64) float64 {
	if x == 0 || p == 1 {
		return 1 // x is at most n here
	}
	if p == 0 {
		return 0
	}
	logGamma := func(v uint64) float64 { l, _ := math.Lgamma(float64(v)); return l }
	total := 0.0
	for k := n; k >= x; k-- { // from the small terms to the large ones
		choose := logGamma(n+1) - logGamma(k+1) - logGamma(n-k+1)
		total += math.Exp(choose + float64(k)*math.Log(p) + float64(n-k)*math.Log1p(-p))
	}
	return total
}

func TestBinomialTailIsTheSumOfItsTerms(t *testing.T) {
	for _, n := range []uint64{1, 2, 3, 7, 20, 63, 250, 1000} {
		for _, p := range []float64{0, 1e-6, .001, .01, .1, .3, .5, .77, .99, 1} {
			for x := uint64(0); x <= n; x += 1 + n/40 {
				check(t, x, n, p)
			}
		}
	}
}

func check(t *testing.T, x, n uint64, p float64) {
	t.Helper()
	got, want := BinomialTail(x, n, p), sum(x, n, p)
	// Lgamma limits the oracle: about n ulps of the largest logarithm.
	if !near(got, want, 1e-14*float64(n+100)*20) {
		t.Errorf("BinomialTail(%d, %d, %v) = %.17g, the sum is %.17g", x, n, p, got, want)
	}
}

func FuzzBinomial(f *testing.F) {
	f.Add(uint16(5), uint16(10), .01)
	f.Add(uint16(0), uint16(0), .5)
	f.Add(uint16(999), uint16(1000), .999)
	f.Add(uint16(1), uint16(4000), 1e-9)
	f.Fuzz(func(t *testing.T, a, b uint16, p float64) {
		if !(p >= 0 && p <= 1) {
			if !math.IsNaN(BinomialTail(uint64(a), uint64(b), p)) {
				t.Fatalf("p = %v gives a number", p)
			}
			return
		}
		x, n := uint64(min(a, b))%4096, uint64(max(a, b))%4096
		x, n = min(x, n), max(x, n)
		check(t, x, n, p)
		tail, head := BinomialTail(x, n, p), BinomialHead(x, n, p)
		if !(tail >= 0 && tail <= 1 && head >= 0 && head <= 1) {
			t.Fatalf("(%d, %d, %v): tail %v, head %v", x, n, p, tail, head)
		}
		if x < n {
			if next := BinomialTail(x+1, n, p); next > tail*(1+1e-9) {
				t.Fatalf("(%d, %d, %v): one more success is likelier: %v above %v", x, n, p, next, tail)
			}
			if both := head + BinomialTail(x+1, n, p); math.Abs(both-1) > 1e-9 {
				t.Fatalf("(%d, %d, %v): head and rest are %v", x, n, p, both)
			}
		}
		low, high := BinomialInterval(x, n, .95)
		if share := float64(x) / float64(max(n, 1)); low > share || n > 0 && high < share || !(low <= high) {
			t.Fatalf("(%d, %d): interval [%v, %v]", x, n, low, high)
		}
		if x > 0 && !near(BinomialTail(x, n, low), .025, 1e-6) || x < n && !near(BinomialHead(x, n, high), .025, 1e-6) {
			t.Fatalf("(%d, %d): interval [%v, %v] leaves %v and %v", x, n, low, high, BinomialTail(x, n, low), BinomialHead(x, n, high))
		}
	})
}

// near says whether two numbers agree to a relative error; below 1e-300 they are equal.
func near(got, want, relative float64) bool {
	return math.Abs(got-want) <= relative*math.Abs(want)+1e-300
}

func ExampleBinomialTail() {
	// 48 of 100 requests failed; were it 1 % in truth, so many would fail with this chance:
	fmt.Printf("%.1e\n", BinomialTail(48, 100, .01))
	// Output: 5.6e-68
}
