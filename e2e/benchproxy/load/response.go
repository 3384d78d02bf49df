package load

import (
	"bytes"
	"fmt"
	"strconv"
)

// response is one HTTP/1.1 response as it arrives. Only those with a Content-Length are understood, which is
// what the backend of the benchmark sends and proxies keep.
type response struct {
	buffer []byte
	// size of the whole response; 0 until its head is complete.
	size int
}

var headEnd = []byte("\r\n\r\n")

// add takes what has arrived and reports whether the response is complete. Another status than 200, and bytes
// beyond the end, are errors.
func (r *response) add(arrived []byte) (complete bool, err error) {
	r.buffer = append(r.buffer, arrived...)
	if r.size == 0 {
		end := bytes.Index(r.buffer, headEnd)
		if end < 0 {
			return false, nil
		}
		head := r.buffer[:end+2]
		if !bytes.HasPrefix(head, []byte("HTTP/1.1 200 ")) {
			return false, fmt.Errorf("status line %.60q, want 200", head)
		}
		length, err := contentLength(head)
		if err != nil {
			return false, err
		}
		r.size = end + len(headEnd) + length
	}
	if len(r.buffer) > r.size {
		return false, fmt.Errorf("%d bytes where the response has %d", len(r.buffer), r.size)
	}
	return len(r.buffer) == r.size, nil
}

// reset makes it ready for the next response.
func (r *response) reset() { r.buffer, r.size = r.buffer[:0], 0 }

// contentLength of a head, whose lines end with CR LF.
func contentLength(head []byte) (int, error) {
	const name = "content-length:"
	for line := range bytes.SplitSeq(head, []byte("\r\n")) {
		if len(line) > len(name) && bytes.EqualFold(line[:len(name)], []byte(name)) {
			length, err := strconv.Atoi(string(bytes.TrimSpace(line[len(name):])))
			if err != nil {
				return 0, fmt.Errorf("parse content length: %w", err)
			}
			return length, nil
		}
	}
	return 0, fmt.Errorf("a response without Content-Length: %.200q", head)
}
