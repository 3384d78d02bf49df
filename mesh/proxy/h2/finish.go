package h2

import (
	"time"

	"github.com/sluice-mesh/sluice/mesh/proxy/observe"
	"github.com/sluice-mesh/sluice/mesh/proxy/table"
	"github.com/sluice-mesh/sluice/mesh/proxy/telemetry"
)

// finish ends the request for everybody who counts; the first call does. What went wrong has set the status
// before (see broke).
func (s *stream) finish() {
	if s.over {
		return
	}
	s.over = true
	for _, timer := range []*time.Timer{s.deadline, s.patience, s.pause} {
		if timer != nil {
			timer.Stop()
		}
	}
	if s.entered {
		s.plan.Streams().Exit(s)
	}
	now := s.server.Now()
	s.endTry(s.outcome(), now)
	s.count(s.status, now)
	if s.caller != nil && s.server.Observer.Wants(s.span, s.tally, s.tallyGRPC, now.Sub(s.begun)) {
		s.observe(now)
	}
	s.server.leave(s)
}

// outcome of the last try, for the endpoint's health.
func (s *stream) outcome() table.Outcome {
	switch {
	case s.status == telemetry.Canceled:
		return table.Canceled
	case s.status >= 500 || badGRPC(s.grpc):
		return table.Failed
	}
	return table.Succeeded
}

// badGRPC are the statuses that speak against an endpoint: UNKNOWN, DEADLINE_EXCEEDED, INTERNAL, UNAVAILABLE,
// DATA_LOSS.
func badGRPC(status int) bool {
	switch status {
	case 2, 4, 13, 14, 15:
		return true
	}
	return false
}

// endTry gives the endpoint of the present try back.
func (s *stream) endTry(o table.Outcome, now time.Time) {
	if s.patience != nil {
		s.patience.Stop()
		s.patience = nil
	}
	if s.endpoint != nil {
		s.plan.Done(s.endpoint, o, now)
		s.endpoint = nil
	}
	if s.repeated {
		s.plan.Retried()
		s.repeated = false
	}
}

// count counts the request, the first time it is called.
func (s *stream) count(status int, now time.Time) {
	if s.counted {
		return
	}
	s.counted, s.tally, s.tallyGRPC = true, status, s.grpc
	if s.plan.Series == nil {
		return
	}
	if s.head.grpc {
		s.plan.Series.EndGRPC(status, s.grpc, now.Sub(s.begun))
	} else {
		s.plan.Series.End(status, now.Sub(s.begun))
	}
}

func (s *stream) observe(now time.Time) {
	r := observe.Record{
		Begun: s.begun, Duration: now.Sub(s.begun), Inbound: s.server.inbound, Protocol: "HTTP/2",
		Method: s.head.method, Path: s.Path(), Authority: s.head.authority, Caller: s.caller.peer,
		Rule: s.plan.Rule.Name, Revision: s.plan.Revision,
		Code: s.tally, GRPC: s.tallyGRPC, Tries: s.tries, Reason: s.reason,
		RequestBytes: s.request.total, ResponseBytes: s.response.total,
	}
	if s.plan.Port != nil {
		r.Service = s.plan.Port.Service
	}
	if n := len(s.tried); n > 0 {
		r.Endpoint = s.tried[n-1].Address
	}
	if s.server.inbound {
		r.Revision = s.server.Revision
		if s.tries > 0 {
			r.Endpoint = s.caller.dst
		}
	}
	r.UserAgent, _ = s.Header("user-agent")
	r.RequestID, _ = s.Header("x-request-id")
	s.server.Observer.End(s.span, &r)
}

// broke notes how a request ended that did not end well. A gRPC status that a response had is no longer the
// outcome.
func (s *stream) broke(status int, reason string) {
	s.status, s.grpc, s.reason = status, -1, reason
}
