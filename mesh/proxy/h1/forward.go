package h1

import (
	"strings"

	"github.com/sluice-mesh/sluice/mesh/ir"
	"github.com/sluice-mesh/sluice/mesh/proxy/engine"
)

// changes are those of the rule and then of the backend; either may be nil.
type changes struct{ rule, backend *ir.HeaderChanges }

func (x *exchange) requestChanges() (c changes) {
	c.rule = x.rule.RequestHeaders
	if x.plan.Backend != nil {
		c.backend = &x.plan.Backend.RequestHeaders
	}
	return c
}

func (x *exchange) responseChanges() (c changes) {
	c.rule = x.rule.ResponseHeaders
	if x.plan.Backend != nil {
		c.backend = &x.plan.Backend.ResponseHeaders
	}
	return c
}

func (c changes) none() bool { return c.rule == nil && c.backend == nil }

// replaced reports whether a field that came does not go on.
func (c changes) replaced(name []byte) bool {
	return replaces(c.rule, view(name)) || replaces(c.backend, view(name))
}

func replaces(c *ir.HeaderChanges, name string) bool {
	if c == nil {
		return false
	}
	for _, removed := range c.Remove {
		if fold(removed, name) {
			return true
		}
	}
	for i := range c.Set {
		if fold(c.Set[i].Name, name) {
			return true
		}
	}
	return false
}

// add appends what the changes set and add.
func (c changes) add(out []byte) []byte {
	if c.rule != nil {
		for _, list := range [][]ir.Header{c.rule.Set, c.rule.Add} {
			for i := range list {
				if !replaces(c.backend, list[i].Name) {
					out = addField(out, list[i].Name, list[i].Value)
				}
			}
		}
	}
	if c.backend != nil {
		for _, list := range [][]ir.Header{c.backend.Set, c.backend.Add} {
			for i := range list {
				out = addField(out, list[i].Name, list[i].Value)
			}
		}
	}
	return out
}

// addField appends a field unless it is one that says where the message goes and how it is framed, or ends
// here: rules have no say in those.
func addField(out []byte, name, value string) []byte {
	if classify([]byte(name)) != plain {
		return out
	}
	return appendField(out, name, value)
}

func appendField(out []byte, name, value string) []byte {
	out = append(out, name...)
	out = append(out, ": "...)
	out = append(out, value...)
	return append(out, "\r\n"...)
}

// appendRequest appends the head for an endpoint; intended is "" where there is nobody to compare it.
func (x *exchange) appendRequest(out []byte, intended string) []byte {
	r := &x.request
	c := x.requestChanges()
	untouched := c.none() && len(x.propagated) == 0
	host := ""
	from := uint32(0) // what is not copied yet
	if w := x.rule.Rewrite; w != nil {
		host = w.Host
		out = x.appendTarget(out)
		from = uint32(r.lineEnd)
	}
	for i := range r.fields {
		f := &r.fields[i]
		if f.kind == plain && untouched {
			continue
		}
		goes := x.goes(f)
		if f.kind == plain { // the others are none of the rules' business: see addField
			goes = !c.replaced(r.name(f)) && !x.propagates(r.name(f))
		}
		if goes && f.kind == hostField && host != "" {
			out = append(out, r.b[from:f.value]...)
			out = append(out, host...)
			from = f.end
		}
		if !goes {
			out = append(out, r.b[from:f.start]...)
			from = f.next
		}
	}
	out = append(out, r.b[from:len(r.b)-2]...)
	if !untouched {
		out = c.add(out)
		for i := range x.propagated {
			if x.propagated[i].Value != "" { // which only takes away what came
				out = appendField(out, x.propagated[i].Name, x.propagated[i].Value)
			}
		}
	}
	if intended != "" {
		out = appendField(out, engine.Intended, intended)
	}
	switch {
	case x.switches:
		out = append(out, "Connection: Upgrade\r\n"...)
	case r.minor == 0 && !r.last():
		out = append(out, "Connection: keep-alive\r\n"...)
	}
	return append(out, "\r\n"...)
}

// goes reports whether a field of the request goes on to the next hop.
func (x *exchange) goes(f *field) bool {
	switch f.kind {
	case connectionField, hopField, meshField, droppedField:
		return false
	case upgradeField:
		return x.switches
	case teField:
		return fold(x.request.content(f), "trailers")
	}
	return true
}

func (x *exchange) propagates(name []byte) bool {
	for i := range x.propagated {
		if fold(x.propagated[i].Name, view(name)) {
			return true
		}
	}
	return false
}

// appendTarget appends the request line with the path that the rule wants.
func (x *exchange) appendTarget(out []byte) []byte {
	r := &x.request
	prefix := r.target[:r.pathAt]
	if host := x.rule.Rewrite.Host; host != "" && prefix != "" {
		scheme, _, _ := strings.Cut(prefix, "://")
		prefix = scheme + "://" + host
	}
	out = append(out, r.method...)
	out = append(out, ' ')
	out = append(out, prefix...)
	out = append(out, x.plan.RewritePath(r.path)...)
	if r.hasQuery {
		out = append(out, '?')
		out = append(out, r.query...)
	}
	if r.minor == 0 {
		return append(out, " HTTP/1.0\r\n"...)
	}
	return append(out, " HTTP/1.1\r\n"...)
}

// appendResponse appends the head for the caller. Untouched: nothing was to be changed, and nothing appended.
func (x *exchange) appendResponse(out []byte) (_ []byte, untouched bool) {
	r := &x.response
	var c changes
	if !r.interim() {
		c = x.responseChanges()
	}
	untouched = c.none()
	from := uint32(0)
	begin := len(out)
	if r.minor == 0 && x.request.minor == 1 { // each hop says its own version
		out = append(out, "HTTP/1.1"...)
		from = 8
	}
	for i := range r.fields {
		f := &r.fields[i]
		if f.kind == plain && untouched {
			continue
		}
		if !x.returns(f) || f.kind == plain && c.replaced(r.name(f)) {
			out = append(out, r.b[from:f.start]...)
			from = f.next
		}
	}
	end := uint32(len(r.b) - 2)
	connection := ""
	switch {
	case r.status == 101:
		connection = "Connection: Upgrade\r\n"
	case r.interim():
	case x.last && x.request.minor == 1:
		connection = "Connection: close\r\n"
	case !x.last && x.request.minor == 0:
		connection = "Connection: keep-alive\r\n"
	}
	cookie := x.plan.SetCookie != "" && !r.interim()
	if from == 0 && untouched && connection == "" && !cookie {
		return out, true
	}
	out = append(out, r.b[from:end]...)
	if !untouched {
		out = c.add(out)
	}
	if cookie {
		out = appendField(out, "Set-Cookie", x.plan.SetCookie)
	}
	out = append(out, connection...)
	return append(out, "\r\n"...), len(out) == begin
}

// returns reports whether a field of the response goes on to the caller.
func (x *exchange) returns(f *field) bool {
	switch f.kind {
	case connectionField, hopField, meshField, droppedField:
		return false
	case upgradeField:
		return x.response.status == 101 || x.response.status == 426 // which says what would be spoken
	case lengthField, codingField:
		return x.response.status != 204 && x.response.status >= 200
	}
	return true
}
