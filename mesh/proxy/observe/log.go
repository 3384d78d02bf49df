package observe

import (
	"encoding/hex"
	"net/netip"
	"strconv"
	"time"
)

// appendLine appends a request's line of the access log. What is empty or not known is left out.
func appendLine(dst []byte, s *Span, r *Record) []byte {
	dst = append(dst, `{"time":"`...)
	dst = r.Begun.UTC().AppendFormat(dst, time.RFC3339Nano)
	dst = append(dst, '"')
	dst = strconv.AppendFloat(appendName(dst, "duration"), r.Duration.Seconds(), 'f', -1, 64)
	dst = appendField(dst, "direction", r.direction())
	dst = appendField(dst, "protocol", r.Protocol)
	dst = appendField(dst, "method", r.Method)
	dst = appendField(dst, "path", r.Path)
	dst = appendField(dst, "authority", r.Authority)
	dst = appendField(dst, "user_agent", r.UserAgent)
	dst = appendField(dst, "request_id", r.RequestID)
	if s != nil {
		dst = append(appendName(dst, "trace_id"), '"')
		dst = append(hex.AppendEncode(dst, s.trace[:]), '"')
	}
	dst = appendAddress(dst, "caller", r.Caller)
	dst = appendAddress(dst, "endpoint", r.Endpoint)
	dst = appendField(dst, "service", r.Service)
	dst = appendField(dst, "revision", r.Revision)
	dst = appendField(dst, "rule", r.Rule)
	dst = appendNumber(dst, "code", int64(r.Code))
	if r.GRPC >= 0 {
		dst = appendNumber(dst, "grpc_status", int64(r.GRPC))
	}
	dst = appendNumber(dst, "tries", int64(r.Tries))
	dst = appendNumber(dst, "request_bytes", r.RequestBytes)
	dst = appendNumber(dst, "response_bytes", r.ResponseBytes)
	dst = appendField(dst, "reason", r.Reason)
	return append(dst, '}', '\n')
}

func appendAddress(dst []byte, name string, a netip.AddrPort) []byte {
	if !a.IsValid() {
		return dst
	}
	dst = append(appendName(dst, name), '"')
	return append(a.AppendTo(dst), '"')
}
