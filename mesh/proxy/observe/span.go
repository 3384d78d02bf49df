package observe

import (
	"encoding/binary"
	"encoding/hex"

	"github.com/sluice-mesh/sluice/mesh/ir"
)

type (
	traceID [16]byte
	spanID  [8]byte
)

func (t traceID) String() string { return hex.EncodeToString(t[:]) }
func (s spanID) String() string  { return hex.EncodeToString(s[:]) }

func newTraceID(random func() uint64) (id traceID) {
	binary.BigEndian.PutUint64(id[:8], random())
	binary.BigEndian.PutUint64(id[8:], max(random(), 1)) // all zeros are no name
	return id
}

func newSpanID(random func() uint64) (id spanID) {
	binary.BigEndian.PutUint64(id[:], max(random(), 1))
	return id
}

// families are the ways in which a trace is written into headers.
type families uint8

const (
	traceparent families = 1 << iota // W3C Trace Context
	b3Single                         // B3 in one field
	b3Multi                          // B3 in a field for each part
)

// decision is what the headers say about recording a trace.
type decision uint8

const (
	undecided decision = iota
	denied
	accepted
)

// Span is one request's part of a trace.
type Span struct {
	trace      traceID
	id, parent spanID // parent is zero at the beginning of a trace
	families   families
	decision   decision
	// short: a trace's name in B3 came with 64 bits and goes on so. debug is B3's.
	short, debug bool
	// random: W3C's flag that the name is so, as it came.
	random bool
	// stale: there is a tracestate of a trace that was not understood.
	stale bool
}

// begin makes it the first of a trace, in the family that the headers were in, else as configured.
func (s *Span) begin(h Headers, p ir.Propagation, random func() uint64) {
	s.trace = newTraceID(random)
	switch {
	case s.families != 0: // B3's accept without a name
	case p == ir.B3:
		s.families = b3Multi
	default:
		s.families = traceparent
		_, s.stale = h.Header("tracestate")
	}
}

// Propagate calls set for each header field that the request to the endpoint must have, in place of those of
// that name that came. Other fields of a trace, such as tracestate, pass as they are.
func (s *Span) Propagate(set func(name, value string)) {
	if s == nil {
		return
	}
	if s.families&traceparent != 0 {
		flags := "01"
		if s.random {
			flags = "03"
		}
		set("traceparent", "00-"+s.trace.String()+"-"+s.id.String()+"-"+flags)
		if s.stale {
			set("tracestate", "")
		}
	}
	if s.families&b3Single != 0 {
		sampled := "-1"
		if s.debug {
			sampled = "-d"
		}
		parent := ""
		if s.parent != (spanID{}) {
			parent = "-" + s.parent.String()
		}
		set("b3", s.b3Trace()+"-"+s.id.String()+sampled+parent)
	}
	if s.families&b3Multi != 0 {
		set("x-b3-traceid", s.b3Trace())
		set("x-b3-spanid", s.id.String())
		if s.parent != (spanID{}) {
			set("x-b3-parentspanid", s.parent.String())
		}
		if !s.debug { // which implies it, in x-b3-flags
			set("x-b3-sampled", "1")
		}
	}
}

func (s *Span) b3Trace() string {
	if s.short {
		return hex.EncodeToString(s.trace[8:])
	}
	return s.trace.String()
}
