package h1

import (
	"net/netip"
	"strings"
)

var (
	errRequestLine = bad("the request line is not a method, a target and a version")
	errTarget      = bad("the request target is not a path, an asterisk with OPTIONS, or an http URL")
	errHosts       = bad("there is not exactly one Host")
	errHost        = bad("Host is not a host name")
	errHostDiffers = bad("Host is not the host of the request target")
	errConnect     = &malformed{501, "CONNECT is not supported: connect to the destination itself"}
	errVersion     = &malformed{505, "only HTTP/1.0 and HTTP/1.1 are spoken here"}
)

// request is the head of a request. Its texts are views of the head.
type request struct {
	head
	method, target string
	lineEnd        int // of the request line, with its CR LF
	// pathAt is where the path begins in the target: after scheme and authority, where those are there.
	pathAt      int
	path, query string
	hasQuery    bool
	authority   string
	intended    string
}

// parse reads a whole head. It is strict, since what one server takes for a request and another does not is
// how requests are smuggled.
func (r *request) parse(b []byte) *malformed {
	r.reset(b)
	r.intended, r.authority = "", ""
	i := 0
	for tokens[b[i]] {
		i++
	}
	if i == 0 || b[i] != ' ' {
		return errRequestLine
	}
	r.method = view(b[:i])
	i++
	start := i
	for targets[b[i]] {
		i++
	}
	if i == start || b[i] != ' ' {
		return errRequestLine
	}
	r.target = view(b[start:i])
	i++
	const version = "HTTP/1.x\r\n"
	if len(b)-i < len(version) || string(b[i:i+7]) != version[:7] || b[i+8] != '\r' || b[i+9] != '\n' {
		return versionFault(b[i:])
	}
	switch b[i+7] {
	case '0', '1':
		r.minor = b[i+7] - '0'
	default:
		return versionFault(b[i:])
	}
	r.lineEnd = i + len(version)
	if m := r.parseTarget(); m != nil {
		return m
	}
	if m := r.parseFields(r.lineEnd); m != nil {
		return m
	}
	return r.judge()
}

// Bytes that targets may have: visible ones but "#", since nobody sends a fragment, and what is not ASCII.
var targets = func() (t [256]bool) {
	for c := 0x21; c <= 0xff; c++ {
		t[c] = c != 0x7f && c != '#'
	}
	return t
}()

func versionFault(b []byte) *malformed {
	const digits = "HTTP/d.d\r\n"
	if len(b) < len(digits) || string(b[:5]) != digits[:5] || b[6] != '.' || b[8] != '\r' || b[9] != '\n' ||
		b[5] < '0' || b[5] > '9' || b[7] < '0' || b[7] > '9' {
		return errRequestLine
	}
	return errVersion
}

func (r *request) parseTarget() *malformed {
	t := r.target
	r.pathAt = 0
	switch {
	case r.method == "CONNECT":
		return errConnect
	case t[0] == '/':
	case t == "*":
		if r.method != "OPTIONS" {
			return errTarget
		}
	default:
		begin := schemeEnd(t)
		if begin == 0 {
			return errTarget
		}
		r.pathAt = len(t)
		if i := strings.IndexAny(t[begin:], "/?"); i >= 0 {
			r.pathAt = begin + i
		}
		r.authority = t[begin:r.pathAt]
		if r.authority == "" || !validAuthority(r.authority) {
			return errTarget
		}
	}
	r.path, r.query, r.hasQuery = strings.Cut(t[r.pathAt:], "?")
	if r.path == "" {
		r.path = "/" // of a URL without one
	}
	if strings.IndexByte(r.path, '%') >= 0 && !validEscapes(r.path) {
		return errTarget
	}
	return nil
}

func schemeEnd(target string) int {
	for _, scheme := range []string{"http://", "https://"} {
		if len(target) > len(scheme) && fold(target[:len(scheme)], scheme) {
			return len(scheme)
		}
	}
	return 0
}

func validEscapes(path string) bool {
	for i := 0; i < len(path); i++ {
		if path[i] != '%' {
			continue
		}
		if i+2 >= len(path) || unhex(path[i+1]) < 0 || unhex(path[i+2]) < 0 {
			return false
		}
		i += 2
	}
	return true
}

// unhex returns the value of a digit, or -1.
func unhex(c byte) int {
	switch {
	case c >= '0' && c <= '9':
		return int(c - '0')
	case c >= 'a' && c <= 'f':
		return int(c-'a') + 10
	case c >= 'A' && c <= 'F':
		return int(c-'A') + 10
	}
	return -1
}

// Bytes that a host name may have.
var hostBytes = func() (t [256]bool) {
	for c := range t {
		t[c] = tokens[c] && strings.IndexByte("#^`|%", byte(c)) < 0
	}
	for _, c := range "();=," {
		t[c] = true
	}
	return t
}()

// validAuthority wants a host name or an address, and perhaps a port. There is no user here.
func validAuthority(a string) bool {
	if a == "" {
		return true
	}
	if a[0] == '[' {
		end := strings.IndexByte(a, ']')
		if end < 0 {
			return false
		}
		if addr, err := netip.ParseAddr(a[1:end]); err != nil || !addr.Is6() || addr.Zone() != "" {
			return false
		}
		a = a[end+1:]
		return a == "" || a[0] == ':' && digits(a[1:])
	}
	for i := range len(a) {
		if a[i] == ':' {
			return i > 0 && digits(a[i+1:])
		}
		if !hostBytes[a[i]] {
			return false
		}
	}
	return true
}

func digits(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return true
}

// judge looks at the fields that a request must or must not have.
func (r *request) judge() *malformed {
	hosts := 0
	for i := range r.fields {
		f := &r.fields[i]
		switch f.kind {
		case hostField:
			hosts++
			host := r.content(f)
			if !validAuthority(host) {
				return errHost
			}
			if r.pathAt == 0 {
				r.authority = host
			} else if !fold(host, r.authority) {
				return errHostDiffers
			}
		case meshField:
			if r.intended == "" && equal(r.name(f), "sluice-intended") {
				r.intended = r.content(f)
			}
		}
	}
	if hosts > 1 || hosts == 0 && r.minor == 1 {
		return errHosts
	}
	return nil
}

// cookies returns the first Cookie field joined with the others, of which there should be none.
func (r *request) cookies(first string) string {
	for i, n := 0, 0; i < len(r.fields); i++ {
		if f := &r.fields[i]; equal(r.name(f), "cookie") {
			if n++; n > 1 {
				first += "; " + r.content(f)
			}
		}
	}
	return first
}

// last reports whether the caller wants no further request on its connection.
func (r *request) last() bool {
	if r.minor == 0 {
		return r.close || !r.keepAlive
	}
	return r.close
}

// switches reports whether the caller asks for another protocol. HTTP/2 is not offered: it would carry
// requests past this proxy that it has not seen.
func (r *request) switches() bool {
	if !r.upgrade || !r.upgrades || r.minor == 0 {
		return false
	}
	for i := range r.fields {
		if r.fields[i].kind != upgradeField {
			continue
		}
		for list := r.content(&r.fields[i]); list != ""; {
			var token string
			if token, list = nextToken(list); fold(token, "h2c") || fold(token, "h2") {
				return false
			}
		}
	}
	return true
}

// idempotent methods may be repeated when nobody knows what has become of them (RFC 9110, 9.2.2).
func (r *request) idempotent() bool {
	switch r.method {
	case "GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE":
		return true
	}
	return false
}
