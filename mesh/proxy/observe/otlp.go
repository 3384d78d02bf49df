package observe

import (
	"encoding/hex"
	"strconv"
)

// OTLP's JSON encoding (https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding): Protobuf's, but
// with hexadecimal names and numbers for enumerations; 64-bit integers are texts.

// otlpFrame is what is before and after the spans of a message.
func otlpFrame(r Resource) (before, after []byte) {
	list := otlpAttributes{dst: []byte(`{"resourceSpans":[{"resource":{"attributes":[`)}
	list.text("service.name", r.Service)
	list.text("service.namespace", r.Namespace)
	list.text("service.instance.id", r.Pod)
	list.text("k8s.namespace.name", r.Namespace)
	list.text("k8s.pod.name", r.Pod)
	list.text("telemetry.sdk.name", "sluice")
	list.text("telemetry.sdk.version", r.Version)
	list.text("telemetry.sdk.language", "go")
	list.dst = append(list.dst, `]},"scopeSpans":[{"scope":{"name":"sluice-proxy"`...)
	list.dst = appendField(list.dst, "version", r.Version)
	list.dst = append(list.dst, `},"spans":[`...)
	return list.dst, []byte(`],"schemaUrl":"https://opentelemetry.io/schemas/1.37.0"}]}]}`)
}

func appendOTLP(dst []byte, s *Span, r *Record) []byte {
	dst = append(dst, `{"traceId":"`...)
	dst = hex.AppendEncode(dst, s.trace[:])
	dst = append(dst, `","spanId":"`...)
	dst = append(hex.AppendEncode(dst, s.id[:]), '"')
	if s.parent != (spanID{}) {
		dst = append(dst, `,"parentSpanId":"`...)
		dst = append(hex.AppendEncode(dst, s.parent[:]), '"')
	}
	kind := int64(3) // client
	if r.Inbound {
		kind = 2 // server
	}
	dst = appendField(dst, "name", spanName(r))
	dst = appendNumber(dst, "kind", kind)
	dst = appendQuoted(dst, "startTimeUnixNano", r.Begun.UnixNano())
	dst = appendQuoted(dst, "endTimeUnixNano", r.Begun.Add(r.Duration).UnixNano())
	dst = append(dst, `,"attributes":[`...)
	list := otlpAttributes{dst: dst}
	describe(r, &list)
	dst = list.dst
	dst = append(dst, ']')
	if errorType(r) != "" {
		dst = append(dst, `,"status":{"code":2`...)
		dst = appendField(dst, "message", r.Reason)
		dst = append(dst, '}')
	}
	return append(dst, '}')
}

func appendQuoted(dst []byte, name string, n int64) []byte {
	dst = append(appendName(dst, name), '"')
	return append(strconv.AppendInt(dst, n, 10), '"')
}

// otlpAttributes appends key and value, one after the other.
type otlpAttributes struct {
	dst   []byte
	later bool
}

func (a *otlpAttributes) key(name string) {
	if a.later {
		a.dst = append(a.dst, ',')
	}
	a.later = true
	a.dst = append(a.dst, `{"key":"`...)
	a.dst = append(a.dst, name...)
	a.dst = append(a.dst, `","value":{`...)
}

func (a *otlpAttributes) text(name, value string) {
	if value == "" {
		return
	}
	a.key(name)
	a.dst = append(a.dst, `"stringValue":`...)
	a.dst = append(appendText(a.dst, value), '}', '}')
}

func (a *otlpAttributes) number(name string, value int64) {
	a.key(name)
	a.dst = append(a.dst, `"intValue":"`...)
	a.dst = append(strconv.AppendInt(a.dst, value, 10), '"', '}', '}')
}
