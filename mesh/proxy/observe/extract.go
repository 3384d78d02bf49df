package observe

import (
	"encoding/hex"
	"strings"
)

// extract reads the trace that a request is part of, if any: its name, its parent and what was decided
// about it. What no specification allows is as if it were not there. Where several families name the same
// trace, it is passed on in all of them.
func extract(h Headers) Span {
	var s Span
	if value, found := h.Header("traceparent"); found {
		s = fromTraceparent(value)
	}
	if value, found := h.Header("b3"); found {
		s = merge(s, fromB3(value))
	}
	return merge(s, fromB3Multi(h))
}

// merge follows the first that is there.
func merge(first, second Span) Span {
	switch {
	case first.families == 0:
		return second
	case second.families != 0 && first.trace == second.trace:
		first.families |= second.families
		first.short, first.debug = first.short || second.short, first.debug || second.debug
		first.decision = max(first.decision, second.decision)
	}
	return first
}

// fromTraceparent reads W3C's field (https://www.w3.org/TR/trace-context-2/): version, trace, parent and
// flags. Versions to come may be longer.
func fromTraceparent(value string) Span {
	value = strings.Trim(value, " \t")
	const length = len("00-00112233445566778899aabbccddeeff-0011223344556677-00")
	if len(value) < length || value[2] != '-' || value[35] != '-' || value[52] != '-' {
		return Span{}
	}
	version := value[:2]
	if version == "00" && len(value) > length || len(value) > length && value[length] != '-' {
		return Span{}
	}
	s := Span{families: traceparent, decision: denied}
	var flags, number [1]byte
	if version == "ff" || !decodeLower(number[:], version) || !decodeLower(s.trace[:], value[3:35]) ||
		!decodeLower(s.parent[:], value[36:52]) || !decodeLower(flags[:], value[53:55]) ||
		s.trace == (traceID{}) || s.parent == (spanID{}) {
		return Span{}
	}
	if flags[0]&1 != 0 {
		s.decision = accepted
	}
	s.random = flags[0]&2 != 0
	return s
}

// decodeLower reads hexadecimal digits in lower case, exactly as many as there is room for.
func decodeLower(into []byte, digits string) bool {
	for i := range len(digits) {
		if c := digits[i]; c >= 'A' && c <= 'F' {
			return false
		}
	}
	return decode(into, digits)
}

func decode(into []byte, digits string) bool {
	if len(digits) != 2*len(into) {
		return false
	}
	var buffer [2 * len(traceID{})]byte
	_, err := hex.Decode(into, buffer[:copy(buffer[:], digits)])
	return err == nil
}

// fromB3 reads the one field of B3 (https://github.com/openzipkin/b3-propagation): trace, span, what was
// decided, and the span's parent; or the decision alone.
func fromB3(value string) Span {
	value = strings.Trim(value, " \t")
	trace, rest, named := strings.Cut(value, "-")
	s := Span{families: b3Single}
	if !named {
		if !s.decide(value) {
			return Span{}
		}
		return s
	}
	span, rest, more := strings.Cut(rest, "-")
	state, parent, _ := strings.Cut(rest, "-")
	if !s.name(trace, span) || more && !s.decide(state) {
		return Span{}
	}
	var ignored spanID // the parent of our parent
	if parent != "" && !decode(ignored[:], parent) {
		return Span{}
	}
	return s
}

// fromB3Multi reads B3 in a field for each part.
func fromB3Multi(h Headers) Span {
	s := Span{families: b3Multi}
	trace, named := h.Header("x-b3-traceid")
	if named {
		span, _ := h.Header("x-b3-spanid")
		if !s.name(strings.Trim(trace, " \t"), strings.Trim(span, " \t")) {
			return Span{}
		}
	}
	flags, _ := h.Header("x-b3-flags")
	state, decided := h.Header("x-b3-sampled")
	switch state = strings.Trim(state, " \t"); {
	case strings.Trim(flags, " \t") == "1":
		s.decision, s.debug = accepted, true
	case decided && state != "d":
		s.decide(state)
	}
	if !named && s.decision == undecided {
		return Span{}
	}
	return s
}

// name reads a trace of 64 or 128 bits and the span that is our parent.
func (s *Span) name(trace, span string) bool {
	into := s.trace[:]
	if len(trace) == 16 {
		s.short, into = true, s.trace[8:]
	}
	return decode(into, trace) && s.trace != (traceID{}) && decode(s.parent[:], span) && s.parent != (spanID{})
}

// decide reads B3's decision; older libraries say true and false.
func (s *Span) decide(state string) bool {
	switch strings.ToLower(state) {
	case "1", "true":
		s.decision = accepted
	case "0", "false":
		s.decision = denied
	case "d":
		s.decision, s.debug = accepted, true
	default:
		return false
	}
	return true
}
