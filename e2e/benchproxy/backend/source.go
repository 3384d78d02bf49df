package backend

import (
	"context"
	"net"
)

// Source speaks first and never ends: bytes as fast as they are taken.
type Source struct{ listeners *listeners }

// pattern is what each connection begins with, and repeats.
var pattern = func() []byte {
	p := make([]byte, 1<<20)
	for i := range p {
		p[i] = byte(i * 7 % 251)
	}
	return p
}()

// Begin is what the bytes of a connection begin with.
func Begin() []byte { return pattern }

// NewSource opens the port on all hosts.
func NewSource(ctx context.Context, port uint16) (*Source, error) {
	l, err := listen(ctx, port, func(conn net.Conn) {
		for {
			if _, err := conn.Write(pattern); err != nil {
				return
			}
		}
	})
	if err != nil {
		return nil, err
	}
	return &Source{l}, nil
}

// Close ends it.
func (s *Source) Close() { s.listeners.close() }
