// Package sniff owns telling what a client speaks by what it says first, without taking a byte from the
// connection.
package sniff

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Verdict is what is spoken on a connection.
type Verdict int

const (
	// Other is none of those below: CONNECT, anything else.
	Other Verdict = iota
	// HTTP1 begins like a request of HTTP/1.x.
	HTTP1
	// HTTP2 begins with the preface of HTTP/2.
	HTTP2
	// TLS begins with a ClientHello.
	TLS
	// ServerFirst is for a server that spoke, or closed, before its client (of First only).
	ServerFirst
	// Silent is for a client that closed without a word.
	Silent
	// undecided needs more bytes.
	undecided
)

// Head reads what the client says first and leaves it to be read again. It waits up to first for the
// client to begin and up to more for enough to decide; a client that then still hangs back is left to
// the HTTP server to judge. The connection has no read deadline afterwards.
func Head(conn *net.TCPConn, first, more time.Duration) (Verdict, error) {
	defer func() { _ = conn.SetReadDeadline(time.Time{}) }()
	if err := conn.SetReadDeadline(time.Now().Add(first)); err != nil {
		return Other, fmt.Errorf("read first bytes: %w", err)
	}
	return head(conn, more, func() bool { return false })
}

// First waits until client or server says something, and judges the client's word. A server that speaks
// first is not kept waiting for its client: ServerFirst. Neither connection has a read deadline afterwards.
// When nobody has said anything after the given time it is Other: so are connections that are kept for later.
func First(client, server *net.TCPConn, first, more time.Duration) (Verdict, error) {
	raw, err := server.SyscallConn()
	if err != nil {
		return Other, fmt.Errorf("read first bytes: %w", err)
	}
	deadline := time.Now().Add(first)
	if err := errors.Join(client.SetReadDeadline(deadline), server.SetReadDeadline(deadline)); err != nil {
		return Other, fmt.Errorf("read first bytes: %w", err)
	}
	var spoke atomic.Bool
	done := make(chan struct{})
	go func() {
		defer close(done)
		var one [1]byte
		if _, err := peek(raw, one[:], 0); !errors.Is(err, os.ErrDeadlineExceeded) {
			spoke.Store(true)
			_ = client.SetReadDeadline(past)
		}
	}()
	verdict, err := head(client, more, spoke.Load)
	_ = server.SetReadDeadline(past)
	<-done
	_ = client.SetReadDeadline(time.Time{})
	_ = server.SetReadDeadline(time.Time{})
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return Other, nil
	}
	return verdict, err
}

var past = time.Unix(1, 0)

// head judges what the client says; the deadline for its first byte is set. It stops waiting when another
// has spoken, who must move the deadline to the past after saying so.
func head(conn *net.TCPConn, more time.Duration, other func() bool) (Verdict, error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return Other, fmt.Errorf("read first bytes: %w", err)
	}
	var head [64]byte
	for seen := 0; ; {
		n, err := peek(raw, head[:], seen)
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded) && other():
			return ServerFirst, nil
		case errors.Is(err, os.ErrDeadlineExceeded) && seen > 0:
			return HTTP1, nil
		case err != nil:
			return Other, fmt.Errorf("read first bytes: %w", err)
		case n == 0:
			return Silent, nil
		}
		if verdict := classify(head[:n]); verdict != undecided {
			return verdict, nil
		}
		seen = n
		if err := conn.SetReadDeadline(time.Now().Add(more)); err != nil {
			return Other, fmt.Errorf("read first bytes: %w", err)
		}
		if other() { // and perhaps before the deadline was set
			return ServerFirst, nil
		}
	}
}

// peek waits for more bytes than were seen before and returns how many of them are there.
func peek(raw syscall.RawConn, into []byte, seen int) (int, error) {
	var recvErr error
	n := 0
	err := raw.Read(func(fd uintptr) bool {
		for {
			if n, _, recvErr = unix.Recvfrom(int(fd), into, unix.MSG_PEEK); recvErr != unix.EINTR {
				break // the poller tells of what comes, not of what is there after an interruption
			}
		}
		if errors.Is(recvErr, unix.EAGAIN) {
			return false
		}
		// The same bytes again: the poller will tell when there are more.
		return recvErr != nil || n == 0 || n > seen
	})
	if err == nil {
		err = recvErr
	}
	return n, err
}

var preface = []byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")

// classify judges the first bytes: a preface, the record of a ClientHello, or a method of letters, a space,
// and something that can begin a request target.
func classify(head []byte) Verdict {
	if n := min(len(head), len(preface)); bytes.Equal(head[:n], preface[:n]) {
		if n == len(preface) {
			return HTTP2
		}
		return undecided
	}
	if head[0] == 0x16 {
		return classifyTLS(head)
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

// classifyTLS tells a handshake record of version 3.x that holds a ClientHello.
func classifyTLS(head []byte) Verdict {
	for i, want := range []func(byte) bool{
		1: func(b byte) bool { return b == 3 },
		2: func(b byte) bool { return b <= 4 },
		5: func(b byte) bool { return b == 1 },
	} {
		if want == nil {
			continue
		}
		if i >= len(head) {
			return undecided
		}
		if !want(head[i]) {
			return Other
		}
	}
	return TLS
}
