// Package hop is the word between the demo shop and its load generator: which service in which
// version answered a request, hop by hop, with which status. It travels in a response header, so that
// a client can tell an answer of an application from one that the mesh made, anywhere on the way. It
// knows nothing of HTTP servers, of Kubernetes or of the mesh.
package hop

import (
	"fmt"
	"strconv"
	"strings"
)

const (
	// HeaderVersion is set on every response that an application made: its version. A response
	// without it was made by something on the way.
	HeaderVersion = "Shop-Version"
	// HeaderTrace is set next to it: all hops of the request, as Format writes them.
	HeaderTrace = "Shop-Trace"
)

// maxTrace bounds what Parse reads.
const maxTrace = 4096

// Hop is one service's answer on the way of a request.
type Hop struct {
	// Service that was asked.
	Service string
	// Version that answered. Empty: no application answered, so the failure is the mesh's.
	Version string
	// Status is the HTTP status; 0 when there was no response at all.
	Status int
}

// Lost reports whether no application answered.
func (h Hop) Lost() bool { return h.Version == "" }

// Format renders hops as the value of HeaderTrace: service/version=status, separated by semicolons.
// Service and version must not contain the separators.
func Format(hops []Hop) string {
	var b strings.Builder
	for i, h := range hops {
		if i > 0 {
			b.WriteByte(';')
		}
		b.WriteString(h.Service)
		b.WriteByte('/')
		b.WriteString(h.Version)
		b.WriteByte('=')
		b.WriteString(strconv.Itoa(h.Status))
	}
	return b.String()
}

// Parse reads what Format wrote. An empty value has no hops.
func Parse(value string) ([]Hop, error) {
	if len(value) > maxTrace {
		return nil, fmt.Errorf("parse trace: %d bytes, at most %d", len(value), maxTrace)
	}
	if value == "" {
		return nil, nil
	}
	parts := strings.Split(value, ";")
	hops := make([]Hop, 0, len(parts))
	for _, part := range parts {
		who, status, found := strings.Cut(part, "=")
		if !found {
			return nil, fmt.Errorf("parse trace: %q has no status", part)
		}
		service, version, found := strings.Cut(who, "/")
		if !found || service == "" {
			return nil, fmt.Errorf("parse trace: %q names no service and version", part)
		}
		code, err := strconv.Atoi(status)
		if err != nil || code < 0 || code > 999 {
			return nil, fmt.Errorf("parse trace: %q is no status", status)
		}
		hops = append(hops, Hop{Service: service, Version: version, Status: code})
	}
	return hops, nil
}
