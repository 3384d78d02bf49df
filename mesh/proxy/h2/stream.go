package h2

import (
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/sluice-mesh/sluice/mesh/proxy/engine"
	"github.com/sluice-mesh/sluice/mesh/proxy/observe"
	"github.com/sluice-mesh/sluice/mesh/proxy/table"
)

// stream is one request and its response on their way through. What its methods do in the order of a request:
// begin (plan), attempt (an endpoint), opened, respond, finish.
type stream struct {
	mu     sync.Mutex
	server *Server
	caller *downstream // nil for the copy that a mirror gets
	peer   netip.AddrPort
	down   leg
	up     *leg // of the present try; nil before it has a connection
	first  leg  // where up points to in the first try

	head     head
	fields   []field // of the request, pseudo-header fields first
	changed  []field // what goes to the endpoint instead, where something is changed
	request  flow
	response flow
	mirrored []byte // copy of the body, while it may be wanted
	copies   bool

	plan     table.Plan
	planned  bool // else there is nothing to choose: straight is where it goes
	straight *pool
	endpoint *table.Endpoint
	tries    int
	tried    []*table.Endpoint
	triedOne [1]*table.Endpoint // where tried begins
	repeated bool               // Retried must follow
	touched  bool               // an endpoint of an earlier try may have begun
	waiting  *pool              // where it waits for a connection
	pending  bool               // ReleasePending must follow

	begun            time.Time
	status           int
	grpc             int    // status; -1: none
	reason           string // why it broke off, or we answered
	unprocessed      bool   // the caller understands sluice-unprocessed
	counted          bool
	tally, tallyGRPC int  // what it was counted as
	over             bool // ended for the counts; legs may still be open
	responded        bool // the head of the endpoint's response, or of ours, is on its way
	ours             bool // the response is ours: there is no more to come from the endpoint
	hangUp           bool // when the response has been sent, the rest of the request is not wanted

	deadline, patience, pause *time.Timer
	entered                   bool
	age, still                int // in ticks

	span *observe.Span
}

// The methods of table.Request and observe.Headers.

func (s *stream) Method() string { return s.head.method }

func (s *stream) Path() string {
	path, _, _ := strings.Cut(s.head.path, "?")
	return path
}

func (s *stream) Query() string {
	_, query, _ := strings.Cut(s.head.path, "?")
	return query
}

func (s *stream) Authority() string { return s.head.authority }

func (s *stream) GRPC() bool { return s.head.grpc }

func (s *stream) Peer() netip.Addr { return s.peer.Addr() }

// Header returns the first field of a name; cookies, which HTTP/2 may bring in pieces, as one.
func (s *stream) Header(name string) (string, bool) {
	if name == engine.Intended { // which was taken out of the fields
		return s.head.intended, s.server.inbound && s.head.intended != ""
	}
	for i := s.head.pseudo; i < len(s.fields); i++ {
		if s.fields[i].Name != name {
			continue
		}
		value := s.fields[i].Value
		if name == "cookie" {
			for _, f := range s.fields[i+1:] {
				if f.Name == name {
					value += "; " + f.Value
				}
			}
		}
		return value, true
	}
	return "", false
}

// name is where the request goes, for explanations.
func (s *stream) name() string {
	switch {
	case s.caller == nil:
		return "mirror"
	case !s.planned:
		return s.caller.dst.String()
	case s.plan.Revision == "":
		return s.plan.Port.Service
	}
	return s.plan.Port.Service + " revision " + s.plan.Revision
}

// start waits as long as a fault asks for, answers here or carries the request to an endpoint.
func (s *stream) start(b *batch) {
	if t := s.plan.Rule.Timeouts.Request; t > 0 {
		s.deadline = time.AfterFunc(t, func() { s.timeout("the request's timeout of " + t.String() + " has passed") })
	}
	s.after(b, s.plan.Delay, (*stream).proceed)
}

// after goes on now or after a pause, unless the request has been answered meanwhile.
func (s *stream) after(b *batch, pause time.Duration, do func(*stream, *batch)) {
	if pause <= 0 {
		do(s, b)
		return
	}
	s.pause = time.AfterFunc(pause, func() {
		s.later(func(s *stream, b *batch) {
			if !s.responded {
				do(s, b)
			}
		})
	})
}

func (s *stream) proceed(b *batch) {
	if local := s.plan.Local; local != nil {
		s.answer(b, *local)
		return
	}
	s.attempt(b)
}

// later does something that a timer has asked for, if the request is still on.
func (s *stream) later(do func(*stream, *batch)) {
	var b batch
	s.mu.Lock()
	if !s.over {
		do(s, &b)
	}
	s.mu.Unlock()
	b.flush()
}

// settle closes the legs that have nothing more to carry, and ends the request when its response has been sent.
func (s *stream) settle(b *batch) {
	if s.response.closed {
		s.finish()
		switch {
		case s.request.done:
			s.down.close(b, false, 0)
		case s.hangUp:
			s.down.close(b, true, codeNo)
		}
	}
	switch {
	case s.up == nil:
	case s.request.closed && s.response.done && !s.ours:
		s.up.close(b, false, 0)
	case s.over && s.down.closed:
		s.up.close(b, true, codeCancel)
	}
	s.tidy(b)
}

// tidy lets go of what a stream held, when both legs are closed.
func (s *stream) tidy(b *batch) {
	if !s.over || !s.down.closed || s.up != nil && !s.up.closed {
		return
	}
	s.release(b, &s.request, &s.down)
	s.release(b, &s.response, s.up)
	putFields(s.fields)
	s.fields, s.changed, s.mirrored = nil, nil, nil
}

// abandon ends both legs, with a code for those that are still open.
func (s *stream) abandon(b *batch, c code) {
	s.finish()
	s.down.close(b, true, c)
	s.up.close(b, true, c)
	s.tidy(b)
}
