package table

import (
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sluice-mesh/sluice/mesh/ir"
)

func limited(t *testing.T, limits ir.Limits) *Port {
	t.Helper()
	s := shop(release(1, 50), pods("v1", web, 1), pods("v2", web, 2))
	s.Policy.Limits = limits
	return door(t, s)
}

// Each revision has its own limit, and gets its places back.
func TestMaxRequests(t *testing.T) {
	port := limited(t, ir.Limits{MaxRequests: 3})
	for _, number := range []uint32{0, 99} { // one leads to each revision
		var plan Plan
		port.Plan(&plan, get("/"), always(number), start)
		for range 2 {
			var entered []*Endpoint
			for range 3 {
				e, err := plan.Next(always(0), nil, start)
				if err != nil {
					t.Fatal(err)
				}
				entered = append(entered, e)
			}
			_, err := plan.Next(always(0), nil, start)
			var refused *Refused
			if !errors.As(err, &refused) || !refused.Overloaded {
				t.Errorf("the fourth of %s: %v", plan.Revision, err)
			}
			for _, e := range entered {
				plan.Done(e, Succeeded, start)
			}
		}
	}
}

// However many come at once: never more than the limit, and all places are used.
func TestMaxRequestsIsExact(t *testing.T) {
	port := limited(t, ir.Limits{MaxRequests: 4})
	var inFlight, most, refused atomic.Int64
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			var plan Plan
			for range 500 {
				port.Plan(&plan, get("/"), always(0), start)
				e, err := plan.Next(always(0), nil, start)
				if err != nil {
					refused.Add(1)
					continue
				}
				for n := inFlight.Add(1); ; {
					old := most.Load()
					if n <= old || most.CompareAndSwap(old, n) {
						break
					}
				}
				inFlight.Add(-1)
				plan.Done(e, Succeeded, start)
			}
		})
	}
	all.Wait()
	if most.Load() > 4 {
		t.Errorf("%d in flight at a time, want at most 4", most.Load())
	}
	if n := port.use.inFlight(); n != 0 {
		t.Errorf("%d in flight in the end", n)
	}
}

func TestMaxPendingAndConnections(t *testing.T) {
	var plan Plan
	limited(t, ir.Limits{MaxPending: 2, MaxConnections: 1}).Plan(&plan, get("/"), always(0), start)
	for i, want := range []bool{true, true, false} {
		if got := plan.AcquirePending(); got != want {
			t.Errorf("number %d may wait: %v, want %v", i, got, want)
		}
	}
	plan.ReleasePending()
	if !plan.AcquirePending() {
		t.Error("a place that was given back is not there")
	}
	e, err := plan.Next(always(0), nil, start)
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []bool{true, false} {
		if got := e.AcquireConnection(); got != want {
			t.Errorf("connection %d: %v, want %v", i, got, want)
		}
	}
	e.ReleaseConnection()
	if !e.AcquireConnection() {
		t.Error("a connection that was given back is not there")
	}
	limited(t, ir.Limits{}).Plan(&plan, get("/"), always(0), start)
	if e, err = plan.Next(always(0), nil, start); err != nil {
		t.Fatal(err)
	}
	for range defaultMaxConnections {
		if !e.AcquireConnection() {
			t.Fatal("fewer connections than the default")
		}
	}
	if e.AcquireConnection() || !plan.AcquirePending() {
		t.Error("more connections than the default, or nobody may wait")
	}
}

func TestTokenBucket(t *testing.T) {
	cases := map[string]struct {
		limit ir.RateLimit
		asks  []time.Duration // since the start
		want  string
	}{
		"burst is the number": {ir.RateLimit{Requests: 3, Per: time.Second}, []time.Duration{0, 0, 0, 0, 333e6, 334e6, 335e6}, "+++--+-"},
		"burst of one":        {ir.RateLimit{Requests: 10, Per: time.Second, Burst: 1}, []time.Duration{0, 0, 99e6, 100e6, 200e6, 250e6}, "+--++-"},
		"larger burst":        {ir.RateLimit{Requests: 1, Per: time.Second, Burst: 3}, []time.Duration{0, 0, 0, 0, 1e9, 1e9, 3e9, 3e9, 3e9}, "+++-+-++-"},
		"rest fills it":       {ir.RateLimit{Requests: 2, Per: time.Second}, []time.Duration{0, 0, 0, 3600e9, 3600e9, 3600e9}, "++-++-"},
		"per minute":          {ir.RateLimit{Requests: 1, Per: time.Minute}, []time.Duration{0, 59e9, 60e9}, "+-+"},
	}
	for name, c := range cases {
		l, got := newLimiter(c.limit), ""
		for _, at := range c.asks {
			if l.take(start.Add(at)) {
				got += "+"
			} else {
				got += "-"
			}
		}
		if got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}

// Of many who ask at once exactly the burst get through.
func TestTokenBucketIsExact(t *testing.T) {
	l := newLimiter(ir.RateLimit{Requests: 100, Per: time.Hour})
	var through atomic.Int64
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 50 {
				if l.take(start) {
					through.Add(1)
				}
			}
		})
	}
	all.Wait()
	if through.Load() != 100 {
		t.Errorf("%d got through, want 100", through.Load())
	}
}
