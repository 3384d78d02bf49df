package h2

import (
	"strconv"
	"strings"

	"github.com/sluice-mesh/sluice/mesh/proxy/engine"
)

// head is what we need to know of a request's or a response's fields.
type head struct {
	method, scheme, path, authority string
	status                          int
	length                          int64 // content-length; -1: not said
	grpc                            bool
	intended, unprocessed           string
	pseudo                          int // how many fields the pseudo-header fields are
	hasAuthority                    bool
}

// malformed is why a message breaks RFC 9113 (8.1.1); "" when it does not.
type malformed string

// parse reads a message's fields and takes the mesh's own fields out, in place. It refuses what RFC 9113
// (8.2 and 8.3) calls malformed, so that nothing goes on that an HTTP/1.1 server behind another proxy would
// read as something else. White space around values is let through: it changes no message's bounds, and there
// are applications that send it.
func (h *head) parse(fields []field, request bool) ([]field, malformed) {
	*h = head{length: -1}
	host, hasHost, regular := "", false, false
	kept := fields[:0]
	for _, f := range fields {
		if strings.HasPrefix(f.Name, ":") {
			if regular {
				return nil, "pseudo-header field after others"
			}
			if why := h.pseudoField(f, request); why != "" {
				return nil, why
			}
			kept = append(kept, f)
			h.pseudo++
			continue
		}
		regular = true
		if why := checkField(f); why != "" {
			return nil, why
		}
		switch f.Name {
		case "host":
			if hasHost && host != f.Value {
				return nil, "differing hosts"
			}
			host, hasHost = f.Value, true
		case "content-length":
			n, ok := parseLength(f.Value)
			if !ok || h.length >= 0 && h.length != n {
				return nil, "bad content-length"
			}
			h.length = n
		case "content-type":
			h.grpc = isGRPC(f.Value)
		case engine.Intended:
			h.intended = f.Value
		case engine.Unprocessed:
			h.unprocessed = f.Value
		}
		if !strings.HasPrefix(f.Name, "sluice-") {
			kept = append(kept, f)
		}
	}
	clear(fields[len(kept):])
	if !request {
		if h.status == 0 {
			return nil, "no :status"
		}
		return kept, ""
	}
	if hasHost && h.authority != "" && h.authority != host {
		return nil, "host differs from :authority"
	}
	if h.authority == "" && h.method != "CONNECT" {
		h.authority = host
	}
	return kept, h.checkRequest()
}

func (h *head) pseudoField(f field, request bool) malformed {
	var to *string
	switch f.Name {
	case ":method":
		to = &h.method
	case ":scheme":
		to = &h.scheme
	case ":path":
		to = &h.path
	case ":authority":
		if h.hasAuthority {
			return "repeated :authority"
		}
		to, h.hasAuthority = &h.authority, true // it may be empty
	case ":status":
		if request || h.status != 0 || len(f.Value) != 3 {
			return "bad :status"
		}
		n, err := strconv.ParseUint(f.Value, 10, 16)
		if err != nil || n < 100 || n > 599 || n == 101 {
			return "bad :status"
		}
		h.status = int(n)
		return ""
	}
	if to == nil || !request || *to != "" || f.Value == "" && f.Name != ":authority" {
		return malformed("unknown, repeated or empty pseudo-header field")
	}
	*to = f.Value
	return ""
}

func (h *head) checkRequest() malformed {
	if !isToken(h.method) {
		return "bad :method"
	}
	if !isVisible(h.authority) || strings.ContainsAny(h.authority, "@/?#\\") {
		return "bad authority"
	}
	if h.method == "CONNECT" {
		if h.scheme != "" || h.path != "" || h.authority == "" {
			return "bad CONNECT"
		}
		return ""
	}
	if h.scheme == "" || !isToken(h.scheme) {
		return "bad :scheme"
	}
	if h.path == "" || h.path[0] != '/' && (h.path != "*" || h.method != "OPTIONS") || !isVisible(h.path) {
		return "bad :path"
	}
	return ""
}

// checkTrailers refuses malformed trailers. Those of the mesh's own names are taken out in place.
func checkTrailers(fields []field) ([]field, malformed) {
	kept := fields[:0]
	for _, f := range fields {
		if strings.HasPrefix(f.Name, ":") {
			return nil, "pseudo-header field in trailers"
		}
		if why := checkField(f); why != "" {
			return nil, why
		}
		if !strings.HasPrefix(f.Name, "sluice-") {
			kept = append(kept, f)
		}
	}
	clear(fields[len(kept):])
	return kept, ""
}

func checkField(f field) malformed {
	if len(f.Name) == 0 {
		return "empty field name"
	}
	for i := range len(f.Name) {
		if !lowerToken[f.Name[i]] {
			return "bad field name"
		}
	}
	for i := range len(f.Value) {
		if c := f.Value[i]; c < ' ' && c != '\t' || c == 0x7f {
			return "bad field value"
		}
	}
	switch f.Name {
	case "connection", "proxy-connection", "keep-alive", "transfer-encoding", "upgrade":
		return "connection-specific field"
	case "te":
		if f.Value != "trailers" {
			return "te other than trailers"
		}
	}
	return ""
}

// lowerToken has the bytes of field names in HTTP/2: RFC 9110's token without upper-case letters.
var lowerToken = func() (table [256]bool) {
	for _, c := range []byte("!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz") {
		table[c] = true
	}
	return table
}()

func isToken(text string) bool {
	for i := range len(text) {
		if c := text[i]; !lowerToken[c] && (c < 'A' || c > 'Z') {
			return false
		}
	}
	return text != ""
}

// isVisible: nothing that could end a line or a word of an HTTP/1.1 request line.
func isVisible(text string) bool {
	for i := range len(text) {
		if c := text[i]; c <= ' ' || c == 0x7f {
			return false
		}
	}
	return true
}

func parseLength(text string) (int64, bool) {
	if text == "" {
		return 0, false
	}
	for i := range len(text) {
		if text[i] < '0' || text[i] > '9' {
			return 0, false
		}
	}
	n, err := strconv.ParseInt(text, 10, 64)
	return n, err == nil
}

func isGRPC(contentType string) bool {
	rest, found := strings.CutPrefix(contentType, "application/grpc")
	return found && (rest == "" || rest[0] == '+' || rest[0] == ';')
}

// grpcStatus reads the status from a message's fields; -1: there is none.
func grpcStatus(fields []field) int {
	for i := len(fields) - 1; i >= 0; i-- {
		if fields[i].Name == "grpc-status" {
			n, err := strconv.ParseUint(fields[i].Value, 10, 8)
			if err != nil || n > 16 {
				return 2 // what gRPC's libraries make of it: UNKNOWN
			}
			return int(n)
		}
	}
	return -1
}
