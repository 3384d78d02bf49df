package observe

import (
	"encoding/hex"
	"net/netip"
	"strconv"
	"strings"
)

// Zipkin's JSON, version 2: https://zipkin.io/zipkin-api/#/default/post_spans

func appendZipkin(dst []byte, own Resource, s *Span, r *Record) []byte {
	dst = append(dst, `{"traceId":"`...)
	trace := s.trace[:]
	if s.short {
		trace = trace[8:]
	}
	dst = hex.AppendEncode(dst, trace)
	dst = append(dst, `","id":"`...)
	dst = append(hex.AppendEncode(dst, s.id[:]), '"')
	if s.parent != (spanID{}) {
		dst = append(dst, `,"parentId":"`...)
		dst = append(hex.AppendEncode(dst, s.parent[:]), '"')
	}
	local, remote, kind := r.Caller, r.Endpoint, "CLIENT"
	if r.Inbound {
		local, remote, kind = r.Endpoint, r.Caller, "SERVER"
	}
	dst = appendField(dst, "kind", kind)
	dst = appendField(dst, "name", strings.ToLower(spanName(r)))
	dst = appendNumber(dst, "timestamp", r.Begun.UnixMicro())
	dst = appendNumber(dst, "duration", max(r.Duration.Microseconds(), 1))
	if s.debug {
		dst = append(dst, `,"debug":true`...)
	}
	dst = appendZipkinEndpoint(dst, "localEndpoint", own.Service, local)
	service := r.Service
	if r.Inbound {
		service = "" // nobody says who called
	}
	dst = appendZipkinEndpoint(dst, "remoteEndpoint", service, remote)
	dst = append(dst, `,"tags":{`...)
	tags := zipkinTags{dst: dst}
	describe(r, &tags)
	tags.text("k8s.namespace.name", own.Namespace)
	tags.text("k8s.pod.name", own.Pod)
	if kind := errorType(r); kind != "" {
		if r.Reason != "" {
			kind = r.Reason
		}
		tags.text("error", kind)
	}
	return append(tags.dst, '}', '}')
}

func appendZipkinEndpoint(dst []byte, name, service string, a netip.AddrPort) []byte {
	if service == "" && !a.IsValid() {
		return dst
	}
	// A name is always there, so that what follows may begin with a comma.
	dst = append(appendName(dst, name), `{"serviceName":`...)
	dst = appendText(dst, strings.ToLower(service))
	if a.IsValid() {
		version := "ipv6"
		if a.Addr().Unmap().Is4() {
			version = "ipv4"
		}
		dst = appendField(dst, version, addressOf(a))
		dst = appendNumber(dst, "port", int64(a.Port()))
	}
	return append(dst, '}')
}

// zipkinTags appends name and value, both texts.
type zipkinTags struct {
	dst   []byte
	later bool
}

func (t *zipkinTags) text(name, value string) {
	if value == "" {
		return
	}
	if t.later {
		t.dst = append(t.dst, ',')
	}
	t.later = true
	t.dst = append(appendText(t.dst, name), ':')
	t.dst = appendText(t.dst, value)
}

func (t *zipkinTags) number(name string, value int64) { t.text(name, strconv.FormatInt(value, 10)) }
