package h1

import (
	"errors"
	"time"

	"github.com/sluice-mesh/sluice/mesh/ir"
	"github.com/sluice-mesh/sluice/mesh/proxy/engine"
	"github.com/sluice-mesh/sluice/mesh/proxy/table"
	"github.com/sluice-mesh/sluice/mesh/proxy/telemetry"
)

// try offers the request to one endpoint after the other, of the revision that was drawn, as the rule
// allows.
func (x *exchange) try() {
	s, now := x.c.server, x.begun
	var last *failure
	for {
		x.tries++
		p, f := x.next(now)
		if f != nil {
			if last == nil {
				last = f
			}
			break
		}
		f = x.offer(p, now)
		if f == nil {
			if f = x.wanting(); f == nil {
				x.respond()
				return
			}
		}
		x.dropUpstream()
		now = s.Now()
		last = f
		e := x.endpoint
		x.leave(f.outcome, now)
		if f.counts {
			x.countAt(f.code, now)
		}
		if !x.again(f, e) {
			break
		}
		now = s.Now()
	}
	x.explain(last)
}

// next picks where the next try goes.
func (x *exchange) next(now time.Time) (*pool, *failure) {
	if x.direct {
		if x.c.pool == nil {
			x.c.pool = x.c.server.enterPool(x.c.dst)
		}
		x.reached = x.c.dst
		return x.c.pool, nil
	}
	e, err := x.plan.Next(x.c.server.Random, x.tried, now)
	if err != nil {
		x.giveBack()
		f := &failure{status: 503, code: telemetry.Unreached, reason: "no endpoint takes requests"}
		var refused *table.Refused
		if errors.As(err, &refused) {
			f.reason = refused.Reason
		}
		return nil, f
	}
	x.endpoint, x.reached = e, e.Address
	return e.PoolFor(table.HTTP1).(*pool), nil
}

// leave ends a try.
func (x *exchange) leave(outcome table.Outcome, now time.Time) {
	if x.endpoint != nil {
		x.plan.Done(x.endpoint, outcome, now)
		x.endpoint = nil
	}
}

func (x *exchange) giveBack() {
	if x.retrying {
		x.plan.Retried()
		x.retrying = false
	}
}

// again decides whether the request is tried once more after a try with e, and waits as long as it should.
func (x *exchange) again(f *failure, e *table.Endpoint) bool {
	if !f.decided {
		x.giveBack()
	}
	if x.c.ended.Load() != 0 {
		*f = *canceled(f.outcome)
	}
	if f.final || x.direct || !x.replayable() {
		x.giveBack()
		return false
	}
	if !f.decided {
		if f.wait, x.retrying = x.plan.Retry(f.Failure, x.tries, x.c.server.Random); !x.retrying {
			return false
		}
	}
	x.tried = append(x.tried, e)
	if !x.deadline.IsZero() && time.Now().Add(f.wait).After(x.deadline) {
		x.giveBack()
		return false
	}
	if f.wait > 0 && !x.c.pause(f.wait) {
		x.giveBack()
		*f = *canceled(f.outcome)
		return false
	}
	return true
}

// wanting looks at a response that has come: whether it says that nobody has processed the request, or the
// rule wants another try. It is not passed on then.
func (x *exchange) wanting() *failure {
	r := &x.response
	if r.mesh && x.endpoint != nil && x.endpoint.Intended != "" {
		if reason, found := r.find(engine.Unprocessed); found {
			f := &failure{status: 503, code: telemetry.Unreached, reason: "request not processed: " + reason}
			f.On, f.Status, f.GRPC, f.Untouched, f.Idempotent = ir.OnConnectFailure, r.status, -1, true, x.request.idempotent()
			f.outcome, f.counts = table.Unreached, reason != engine.WrongRevision
			return f
		}
	}
	if x.rule.Retry == nil || x.direct || r.status < 400 || !x.pumped() || !x.replayable() {
		return nil
	}
	f := &failure{
		status: r.status, code: r.status, reason: "the endpoint said so, and there was no time to ask again",
		counts: true, decided: true, outcome: outcome(r.status),
	}
	f.On, f.Status, f.GRPC, f.Idempotent = ir.OnStatus, r.status, -1, x.request.idempotent()
	if r.status >= 500 {
		f.On = ir.On5xx
	}
	var again bool
	if f.wait, again = x.plan.Retry(f.Failure, x.tries, x.c.server.Random); !again {
		return nil
	}
	x.giveBack()
	x.retrying = true
	return f
}

func outcome(status int) table.Outcome {
	if status >= 500 {
		return table.Failed
	}
	return table.Succeeded
}
