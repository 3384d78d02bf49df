package h1

var (
	errStatusLine = bad("the status line is not a version, a status and a reason")
	errTooLargeUp = bad("the response's head is too large")
	errSwitched   = bad("the endpoint switched to a protocol that nobody asked for")
)

// response is the head of a response.
type response struct {
	head
	status  int
	lineEnd int
}

// parse reads a whole head, as strictly as a request's.
func (r *response) parse(b []byte) *malformed {
	r.reset(b)
	const line = "HTTP/1.x ddd"
	if len(b) < len(line)+2 || string(b[:7]) != line[:7] || b[7] != '0' && b[7] != '1' || b[8] != ' ' {
		return errStatusLine
	}
	r.minor = b[7] - '0'
	r.status = 0
	for _, c := range b[9:12] {
		if c < '0' || c > '9' {
			return errStatusLine
		}
		r.status = r.status*10 + int(c-'0')
	}
	if r.status < 100 || b[12] != ' ' && b[12] != '\r' {
		return errStatusLine
	}
	end := valueEnd(b, 12)
	if b[end] != '\r' || b[end+1] != '\n' {
		return errStatusLine
	}
	r.lineEnd = end + 2
	return r.parseFields(r.lineEnd)
}

// interim responses come before the final one.
func (r *response) interim() bool { return r.status < 200 && r.status != 101 }

// bodyless reports whether the response ends with its head whatever that says.
func (r *response) bodyless(method string) bool {
	return method == "HEAD" || r.status < 200 || r.status == 204 || r.status == 304
}

// last reports whether the endpoint closes its connection after this response.
func (r *response) last() bool {
	if r.minor == 0 {
		return r.close || !r.keepAlive
	}
	return r.close
}
