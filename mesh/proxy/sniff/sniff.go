// Package sniff owns telling HTTP/1.x from anything else by what a client says first, without taking a
// byte from the connection.
package sniff

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// Verdict is what a client speaks.
type Verdict int

const (
	// Other is not HTTP/1.x: HTTP/2 with prior knowledge, TLS, CONNECT, anything else.
	Other Verdict = iota
	// HTTP1 begins like a request of HTTP/1.x.
	HTTP1
	// undecided needs more bytes.
	undecided
)

// Head reads what the client says first and leaves it to be read again. It waits up to first for the
// client to begin and up to more for enough to decide; a client that then still hangs back is left to
// the HTTP server to judge. The connection has no deadline afterwards.
func Head(conn *net.TCPConn, first, more time.Duration) (Verdict, error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return Other, fmt.Errorf("read first bytes: %w", err)
	}
	defer func() { _ = conn.SetReadDeadline(time.Time{}) }()
	var head [64]byte
	verdict, seen := undecided, 0
	for wait := first; verdict == undecided; wait = more {
		if err := conn.SetReadDeadline(time.Now().Add(wait)); err != nil {
			return Other, fmt.Errorf("read first bytes: %w", err)
		}
		var recvErr error
		n := 0
		err := raw.Read(func(fd uintptr) bool {
			n, _, recvErr = unix.Recvfrom(int(fd), head[:], unix.MSG_PEEK)
			if errors.Is(recvErr, unix.EAGAIN) || errors.Is(recvErr, unix.EINTR) {
				return false
			}
			// The same bytes again: the poller will tell when there are more.
			return recvErr != nil || n == 0 || n > seen
		})
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded) && seen > 0:
			return HTTP1, nil
		case err != nil:
			return Other, fmt.Errorf("read first bytes: %w", err)
		case recvErr != nil:
			return Other, fmt.Errorf("read first bytes: %w", recvErr)
		case n == 0:
			return Other, nil // closed without a word
		}
		seen = n
		verdict = classify(head[:n])
	}
	return verdict, nil
}

var preface = []byte("PRI * HTTP/2.0\r\n")

// classify judges the first bytes: a method of letters, a space, and something that can begin a request
// target.
func classify(head []byte) Verdict {
	if n := min(len(head), len(preface)); bytes.Equal(head[:n], preface[:n]) {
		if n == len(preface) {
			return Other
		}
		return undecided
	}
	// Some clients send an empty line first, which servers should ignore.
	head = bytes.TrimPrefix(head, []byte("\r\n"))
	method, target, complete := bytes.Cut(head, []byte(" "))
	for _, c := range method {
		if (c < 'A' || c > 'Z') && (c < 'a' || c > 'z') && c != '-' && c != '_' {
			return Other
		}
	}
	switch {
	case len(method) > 32, complete && len(method) == 0, string(method) == "CONNECT" && complete:
		return Other
	case !complete, len(target) == 0:
		return undecided
	case target[0] == '/', target[0] == '*', target[0] >= 'a' && target[0] <= 'z', target[0] >= 'A' && target[0] <= 'Z':
		return HTTP1
	}
	return Other
}
