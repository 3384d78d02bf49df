package h1

import (
	"context"
	"time"

	"github.com/sluice-mesh/sluice/mesh/proxy/engine"
	"github.com/sluice-mesh/sluice/mesh/proxy/table"
)

const (
	// maxMirrors is how many copies may be under way in a server; more are not made.
	maxMirrors = 256
	// mirrorTime is how long a copy may take.
	mirrorTime = 10 * time.Second
)

// mirror sends copies of the request to the mirrors that are drawn, once its body is there whole. What they
// answer is read and dropped.
func (x *exchange) mirror() {
	s := x.c.server
	var record []byte
	if x.pump != nil {
		if record = x.pump.record; x.pump.spilled {
			return
		}
	}
	if !x.body.done || x.switches || len(x.first)+len(record) > engine.MaxMirrored {
		return
	}
	x.plan.Mirrored(s.Random, func(plan *table.Plan) {
		if s.mirrors.Add(1) > maxMirrors {
			s.mirrors.Add(-1)
			return
		}
		e, err := plan.Next(s.Random, nil, x.begun)
		if err != nil {
			s.mirrors.Add(-1)
			return
		}
		copied := &copied{server: s, plan: plan, endpoint: e, method: string([]byte(x.request.method))}
		copied.text = append(append(x.appendRequest(nil, e.Intended), x.first...), record...)
		s.running.Go(copied.run)
	})
}

// copied is the copy of a request.
type copied struct {
	server   *Server
	plan     *table.Plan
	endpoint *table.Endpoint
	method   string
	text     []byte
}

func (m *copied) run() {
	defer m.server.mirrors.Add(-1)
	outcome := table.Unreached
	defer func() { m.plan.Done(m.endpoint, outcome, m.server.Now()) }()
	ctx, cancel := context.WithTimeout(m.server.life, mirrorTime)
	defer cancel()
	p := m.endpoint.PoolFor(table.HTTP1).(*pool)
	for again := true; again; { // as long as kept connections turn out to have been closed
		u := p.take(m.server.Now())
		if u == nil {
			if !p.open() {
				outcome = table.Canceled
				return
			}
			var err error
			if u, err = p.dial(ctx); err != nil {
				return
			}
		}
		outcome, again = m.offer(ctx, u)
	}
}

// offer sends the copy on a connection. Again: that was no good before anything was sent.
func (m *copied) offer(ctx context.Context, u *upstream) (outcome table.Outcome, again bool) {
	stop := context.AfterFunc(ctx, u.interrupt)
	status, whole := m.exchange(u)
	outcome, again = table.Failed, u.stale
	if status > 0 && status < 500 {
		outcome = table.Succeeded
	}
	if stop() && whole {
		u.pool.give(u, m.server.Now())
	} else {
		u.close()
	}
	return outcome, again
}

// exchange sends the copy and reads the response. Whole: the connection is good for another one.
func (m *copied) exchange(u *upstream) (status int, whole bool) {
	if u.exchange(m.text, nil) != nil {
		return 0, false
	}
	var r response
	for scanned := 0; ; {
		b := u.buffered()
		n, bad := headEnd(b, scanned)
		if bad != nil || len(b) > m.server.Limits.ResponseHeaderBytes {
			return 0, false
		}
		if scanned = len(b); n > 0 {
			if r.parse(b[:n]) != nil || r.status == 101 {
				return 0, false
			}
			if !r.interim() {
				break
			}
			u.skip(n)
			scanned = 0
			continue
		}
		if u.read() != nil {
			return 0, false
		}
	}
	var rest body
	rest.follow(&r, m.method)
	u.skip(len(r.b))
	for status = r.status; !rest.done; {
		n, bad := rest.take(u.buffered())
		if bad != nil {
			return status, false
		}
		u.skip(n)
		if !rest.done && u.read() != nil {
			return status, false
		}
	}
	return status, !r.last() && len(u.buffered()) == 0
}
