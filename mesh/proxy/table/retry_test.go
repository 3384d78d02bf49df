package table

import (
	"testing"
	"time"

	"github.com/sluice-mesh/sluice/mesh/ir"
)

func retrying(t *testing.T, retry *ir.Retry) *Plan {
	t.Helper()
	s := shop(ir.Split{}, pods("v1", web, 1))
	s.Policy.Retry = retry
	var plan Plan
	door(t, s).Plan(&plan, get("/"), always(0), start)
	return &plan
}

func TestRetryConditions(t *testing.T) {
	on := func(on ...ir.RetryOn) ir.Retry { return ir.Retry{Attempts: 2, On: on} }
	status := func(code int) Failure { return Failure{Status: code, GRPC: -1, Idempotent: true} }
	post := func(f Failure) Failure { f.Idempotent = false; return f }
	happened := func(what ir.RetryOn) Failure { return Failure{On: what, GRPC: -1, Idempotent: true} }
	statuses := on(ir.OnStatus)
	statuses.Statuses = []int{409, 429}
	grpc := on(ir.OnGRPC)
	grpc.GRPCStatuses = []int{8, 14}
	anyMethod := on(ir.On5xx)
	anyMethod.NonIdempotent = true
	cases := map[string]struct {
		retry ir.Retry
		f     Failure
		try   int
		want  bool
	}{
		"5xx":                      {on(ir.On5xx), status(500), 1, true},
		"4xx":                      {on(ir.On5xx), status(404), 1, false},
		"POST":                     {on(ir.On5xx), post(status(500)), 1, false},
		"POST that may":            {anyMethod, post(status(500)), 1, true},
		"gateway error":            {on(ir.OnGatewayError), status(504), 1, true},
		"500 is none":              {on(ir.OnGatewayError), status(500), 1, false},
		"505 is none":              {on(ir.OnGatewayError), status(505), 1, false},
		"status":                   {statuses, status(429), 1, true},
		"another status":           {statuses, status(500), 1, false},
		"gRPC status":              {grpc, Failure{Status: 200, GRPC: 14}, 1, true},
		"another gRPC status":      {grpc, Failure{Status: 200, GRPC: 13}, 1, false},
		"not gRPC":                 {grpc, status(503), 1, false},
		"reset":                    {on(ir.OnReset), happened(ir.OnReset), 1, true},
		"reset of a POST":          {on(ir.OnReset), post(happened(ir.OnReset)), 1, false},
		"timeout":                  {on(ir.OnTimeout), happened(ir.OnTimeout), 1, true},
		"reset is no timeout":      {on(ir.OnTimeout), happened(ir.OnReset), 1, false},
		"POST that was never sent": {on(ir.OnConnectFailure), post(happened(ir.OnConnectFailure)), 1, true},
		"one of several":           {on(ir.OnReset, ir.On5xx), status(503), 1, true},
		"second try":               {on(ir.On5xx), status(500), 2, true},
		"third try":                {on(ir.On5xx), status(500), 3, false},
		"no attempts":              {ir.Retry{On: []ir.RetryOn{ir.On5xx}}, status(500), 1, false},
	}
	for name, c := range cases {
		if _, again := retrying(t, &c.retry).Retry(c.f, c.try, always(0)); again != c.want {
			t.Errorf("%s: again %v, want %v", name, again, c.want)
		}
	}
}

// What nobody has begun to process is offered three times, with a policy or without, at once, and takes
// nothing from the budget.
func TestUntouched(t *testing.T) {
	for _, retry := range []*ir.Retry{nil, {Attempts: 1, On: []ir.RetryOn{ir.On5xx}, BudgetMin: 1}} {
		plan := retrying(t, retry)
		for try, want := range map[int]bool{1: true, 2: true, 3: false} {
			wait, again := plan.Retry(Failure{On: ir.OnReset, GRPC: -1, Untouched: true}, try, always(1<<31))
			if again != want || wait != 0 {
				t.Errorf("try %d: again %v after %v, want %v at once", try, again, wait, want)
			}
			if again {
				plan.Retried()
			}
		}
		if n := plan.Port.use.repeating.Load(); n != 0 {
			t.Errorf("%d repetitions from the budget", n)
		}
	}
}

func TestBackOff(t *testing.T) {
	least, most := always(0), Rand(func(n uint32) uint32 { return n - 1 })
	for _, c := range []struct {
		first, max time.Duration
		try        int
		want       time.Duration
	}{
		{0, 0, 1, 25 * time.Millisecond}, {0, 0, 2, 50 * time.Millisecond}, {0, 0, 4, 200 * time.Millisecond}, {0, 0, 9, 250 * time.Millisecond},
		{time.Second, 3 * time.Second, 2, 2 * time.Second}, {time.Second, 3 * time.Second, 90, 3 * time.Second},
		{time.Hour, 2 * time.Hour, 50, 1 << 31 * time.Microsecond},
	} {
		policy := &ir.Retry{BackOff: c.first, MaxBackOff: c.max}
		if got := backOff(policy, c.try, most); got != c.want {
			t.Errorf("%+v: at most %v, want %v", c, got, c.want)
		}
		if got := backOff(policy, c.try, least); got != 0 {
			t.Errorf("%+v: at least %v, want none", c, got)
		}
	}
}

// Repetitions in flight are bounded by the requests in flight, and given back.
func TestBudget(t *testing.T) {
	failure := Failure{Status: 500, GRPC: -1, Idempotent: true}
	for _, c := range []struct{ inFlight, budget, least, want int }{
		{0, 0, 0, 3}, {10, 0, 0, 3}, {100, 0, 0, 20}, {100, 50, 0, 50}, {100, 1, 7, 7}, {1000, 0, 1, 200},
	} {
		s := shop(ir.Split{}, pods("v1", web, 1))
		s.Policy.Retry = &ir.Retry{Attempts: 1, On: []ir.RetryOn{ir.On5xx}, Budget: uint32(c.budget), BudgetMin: uint32(c.least)}
		port := door(t, s)
		for range c.inFlight {
			carried(t, port, get("/"), always(0), start)
		}
		var plans []*Plan
		for {
			plan := &Plan{}
			port.Plan(plan, get("/"), always(0), start)
			if _, again := plan.Retry(failure, 1, always(0)); !again {
				break
			}
			plans = append(plans, plan)
		}
		if len(plans) != c.want {
			t.Errorf("%+v: %d repetitions", c, len(plans))
		}
		for _, plan := range plans {
			plan.Retried()
		}
		if n := port.use.repeating.Load(); n != 0 {
			t.Errorf("%d repetitions in flight in the end", n)
		}
	}
}
