package ir

import (
	"cmp"
	"slices"
	"strings"
)

// normalise shares nothing that it changes with the route that it was given. The order of matches stays:
// which prefix is replaced depends on it. So does that of backends, which people read.
func (r Route) normalise() Route {
	r.Ports = set(r.Ports)
	matches := make([]Match, 0, len(r.Matches))
	for _, match := range r.Matches {
		matches = append(matches, match.normalise())
	}
	r.Matches = nilIfEmpty(matches)

	if r.Redirect != nil {
		redirect := *r.Redirect
		redirect.Path = redirect.Path.normalise()
		r.Redirect = &redirect
	}
	backends := make([]Backend, 0, len(r.Backends))
	for _, backend := range r.Backends {
		backend.RequestHeaders = backend.RequestHeaders.normalise()
		backend.ResponseHeaders = backend.ResponseHeaders.normalise()
		backends = append(backends, backend)
	}
	r.Backends = nilIfEmpty(backends)

	if r.Rewrite != nil {
		rewrite := *r.Rewrite
		rewrite.Path = rewrite.Path.normalise()
		r.Rewrite = nilIfZero(rewrite)
	}
	r.RequestHeaders = r.RequestHeaders.normalise()
	r.ResponseHeaders = r.ResponseHeaders.normalise()
	mirrors := slices.DeleteFunc(slices.Clone(r.Mirrors), func(m Mirror) bool { return m.Share == 0 })
	slices.SortStableFunc(mirrors, func(a, b Mirror) int {
		return cmp.Or(strings.Compare(a.Service, b.Service), cmp.Compare(a.Port, b.Port), cmp.Compare(a.Share, b.Share))
	})
	r.Mirrors = nilIfEmpty(mirrors)
	if r.Fault != nil {
		r.Fault = nilIfZero(r.Fault.normalise())
	}
	r.RateLimit = r.RateLimit.normalise()
	r.Retry = r.Retry.normalise()
	return r
}

func (m Match) normalise() Match {
	hosts := slices.Clone(m.Hosts)
	for i := range hosts {
		hosts[i] = strings.ToLower(hosts[i])
	}
	m.Hosts = set(hosts)
	if m.Path.Kind == Prefix && len(m.Path.Value) > 1 {
		// Whole elements are compared, so that a slash at the end says nothing.
		if m.Path.Value = strings.TrimRight(m.Path.Value, "/"); m.Path.Value == "" {
			m.Path.Value = "/"
		}
	}
	headers := slices.Clone(m.Headers)
	for i := range headers {
		headers[i].Name = strings.ToLower(headers[i].Name)
	}
	m.Headers = normaliseValues(headers)
	m.Query = normaliseValues(slices.Clone(m.Query))
	m.Cookies = normaliseValues(slices.Clone(m.Cookies))
	return m
}

// normaliseValues changes the list that it is given.
func normaliseValues(values []ValueMatch) []ValueMatch {
	for i := range values {
		if values[i].Kind == Prefix && values[i].Value == "" {
			values[i].Kind = Present
		}
	}
	slices.SortFunc(values, func(a, b ValueMatch) int {
		return cmp.Or(strings.Compare(a.Name, b.Name), strings.Compare(string(a.Kind), string(b.Kind)),
			strings.Compare(a.Value, b.Value), compareBools(a.Not, b.Not))
	})
	return nilIfEmpty(slices.Compact(values))
}

func compareBools(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	default:
		return 1
	}
}

// A prefix is replaced by whole elements as well.
func (p Path) normalise() Path {
	p.Prefix = strings.TrimRight(p.Prefix, "/")
	return p
}

// normalise orders what is set and what is added by name; what is added twice under one name stays in its
// order.
func (c HeaderChanges) normalise() HeaderChanges {
	lower := func(headers []Header) []Header {
		headers = slices.Clone(headers)
		for i := range headers {
			headers[i].Name = strings.ToLower(headers[i].Name)
		}
		slices.SortStableFunc(headers, func(a, b Header) int { return strings.Compare(a.Name, b.Name) })
		return nilIfEmpty(headers)
	}
	remove := slices.Clone(c.Remove)
	for i := range remove {
		remove[i] = strings.ToLower(remove[i])
	}
	return HeaderChanges{Set: lower(c.Set), Add: lower(c.Add), Remove: set(remove)}
}

func (f Fault) normalise() Fault {
	if f.DelayShare == 0 || f.Delay == 0 {
		f.Delay, f.DelayShare = 0, 0
	}
	if f.AbortShare == 0 {
		f.AbortStatus, f.AbortGRPC = 0, 0
	}
	return f
}

func (l *RateLimit) normalise() *RateLimit {
	if l == nil || l.Burst != l.Requests {
		return l
	}
	return &RateLimit{Requests: l.Requests, Per: l.Per}
}

func (r *Retry) normalise() *Retry {
	if r == nil {
		return nil
	}
	if r.Attempts == 0 {
		return &Retry{}
	}
	normal := *r
	normal.On, normal.Statuses, normal.GRPCStatuses = set(normal.On), set(normal.Statuses), set(normal.GRPCStatuses)
	if !slices.Contains(normal.On, OnStatus) {
		normal.Statuses = nil
	}
	if !slices.Contains(normal.On, OnGRPC) {
		normal.GRPCStatuses = nil
	}
	return &normal
}

func (p Policy) normalise() Policy {
	p.Balance.HashOn.Header = strings.ToLower(p.Balance.HashOn.Header)
	// To repeat nothing is what is said without a policy, too. A route says with it that the policy does not
	// hold for it.
	if p.Retry = p.Retry.normalise(); p.Retry != nil && p.Retry.Attempts == 0 {
		p.Retry = nil
	}
	p.RateLimit = p.RateLimit.normalise()
	return p
}

// set returns a sorted copy in which everything is once; nil if it is empty.
func set[T cmp.Ordered](list []T) []T {
	list = slices.Clone(list)
	slices.Sort(list)
	return nilIfEmpty(slices.Compact(list))
}

func nilIfZero[T comparable](value T) *T {
	if value == *new(T) {
		return nil
	}
	return &value
}
