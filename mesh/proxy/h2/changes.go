package h2

import (
	"slices"

	"github.com/sluice-mesh/sluice/mesh/ir"
	"github.com/sluice-mesh/sluice/mesh/proxy/engine"
)

// prepare makes the fields that go to the endpoint, where they are not those that came.
func (s *stream) prepare() {
	rule, backend := s.plan.Rule, s.plan.Backend
	path, host := s.head.path, ""
	if rewrite := rule.Rewrite; rewrite != nil {
		path, host = s.plan.RewritePath(path), rewrite.Host
	}
	if rule.RequestHeaders == nil && unchanged(backend, true) && path == s.head.path && host == "" && s.span == nil {
		return
	}
	fields := slices.Clone(s.fields)
	for i := range fields[:s.head.pseudo] {
		switch f := &fields[i]; {
		case f.Name == ":path":
			f.Value = path
		case f.Name == ":authority" && host != "":
			f.Value = host
		}
	}
	if host != "" {
		fields = without(fields, "host")
		if !slices.ContainsFunc(fields, func(f field) bool { return f.Name == ":authority" }) {
			fields = slices.Insert(fields, s.head.pseudo, field{Name: ":authority", Value: host})
		}
	}
	fields = change(fields, rule.RequestHeaders)
	if backend != nil {
		fields = change(fields, &backend.RequestHeaders)
	}
	if s.span != nil {
		s.span.Propagate(func(name, value string) {
			fields = without(fields, name)
			if value != "" {
				fields = append(fields, field{Name: name, Value: value})
			}
		})
	}
	s.changed = fields
}

// requestFields are what goes to the endpoint of the present try; the second list may be empty.
func (s *stream) requestFields(extra *[1]field) ([]field, []field) {
	fields := s.fields
	if s.changed != nil {
		fields = s.changed
	}
	if s.endpoint == nil || s.endpoint.Intended == "" {
		return fields, nil
	}
	extra[0] = field{Name: engine.Intended, Value: s.endpoint.Intended}
	return fields, extra[:]
}

// responseFields are what goes to the caller of a response's fields.
func (s *stream) responseFields(fields []field) []field {
	rule, backend := s.plan.Rule, s.plan.Backend
	if rule.ResponseHeaders == nil && unchanged(backend, false) && s.plan.SetCookie == "" {
		return fields
	}
	fields = change(slices.Clone(fields), rule.ResponseHeaders)
	if backend != nil {
		fields = change(fields, &backend.ResponseHeaders)
	}
	if s.plan.SetCookie != "" {
		fields = append(fields, field{Name: "set-cookie", Value: s.plan.SetCookie})
	}
	return fields
}

func unchanged(b *ir.Backend, request bool) bool {
	if b == nil {
		return true
	}
	c := &b.ResponseHeaders
	if request {
		c = &b.RequestHeaders
	}
	return len(c.Set) == 0 && len(c.Add) == 0 && len(c.Remove) == 0
}

func change(fields []field, c *ir.HeaderChanges) []field {
	if c == nil {
		return fields
	}
	for _, name := range c.Remove {
		fields = without(fields, name)
	}
	for _, h := range c.Set {
		fields = append(without(fields, h.Name), field{Name: h.Name, Value: h.Value})
	}
	for _, h := range c.Add {
		fields = append(fields, field{Name: h.Name, Value: h.Value})
	}
	return fields
}

// without removes the fields of a name, in place.
func without(fields []field, name string) []field {
	return slices.DeleteFunc(fields, func(f field) bool { return f.Name == name })
}
