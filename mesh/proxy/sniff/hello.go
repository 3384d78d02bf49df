package sniff

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"time"
)

// maxHello bounds a ClientHello: one record of TLS.
const maxHello = 5 + 16<<10

// Hello reads the ClientHello of a connection whose Verdict is TLS and leaves it to be read again. It waits
// up to the given time for all of it. The connection has no read deadline afterwards. What is asked for by
// name is its ServerName, which may be "".
func Hello(conn *net.TCPConn, wait time.Duration) (*tls.ClientHelloInfo, error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return nil, fmt.Errorf("read ClientHello: %w", err)
	}
	defer func() { _ = conn.SetReadDeadline(time.Time{}) }()
	if err := conn.SetReadDeadline(time.Now().Add(wait)); err != nil {
		return nil, fmt.Errorf("read ClientHello: %w", err)
	}
	record := make([]byte, 2<<10)
	for seen := 0; ; {
		n, err := peek(raw, record, seen)
		if err != nil {
			return nil, fmt.Errorf("read ClientHello: %w", err)
		}
		if n == 0 {
			return nil, errors.New("read ClientHello: closed")
		}
		hello, err := parseHello(record[:n])
		switch {
		case hello != nil:
			return hello, nil
		case !errors.Is(err, errShort):
			return nil, fmt.Errorf("read ClientHello: %w", err)
		case n == maxHello:
			return nil, errors.New("read ClientHello: it is too long")
		}
		if seen = n; n == len(record) {
			record = make([]byte, min(2*len(record), maxHello))
			seen = 0
		}
	}
}

var (
	errShort = errors.New("more to come")
	errSeen  = errors.New("seen")
)

// parseHello lets crypto/tls read a ClientHello, as far as it is there.
func parseHello(record []byte) (*tls.ClientHelloInfo, error) {
	var hello *tls.ClientHelloInfo
	server := tls.Server(replay{bytes.NewReader(record)}, &tls.Config{
		GetConfigForClient: func(seen *tls.ClientHelloInfo) (*tls.Config, error) {
			hello = seen
			return nil, errSeen
		},
	})
	err := server.HandshakeContext(context.Background())
	if hello != nil {
		return hello, nil
	}
	return nil, err
}

// replay is a connection on which all has been said.
type replay struct{ from *bytes.Reader }

func (r replay) Read(into []byte) (int, error) {
	if r.from.Len() == 0 {
		return 0, errShort
	}
	return r.from.Read(into)
}

func (replay) Write([]byte) (int, error)        { return 0, errSeen }
func (replay) Close() error                     { return nil }
func (replay) LocalAddr() net.Addr              { return nil }
func (replay) RemoteAddr() net.Addr             { return nil }
func (replay) SetDeadline(time.Time) error      { return nil }
func (replay) SetReadDeadline(time.Time) error  { return nil }
func (replay) SetWriteDeadline(time.Time) error { return nil }
