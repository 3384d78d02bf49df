package load

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"
)

// Hold opens connections, does some requests on each, on all of them at once, and leaves them open until the function that it returns
// is called. The response to the request must be a 200 with a Content-Length.
func Hold(ctx context.Context, address string, connections, each int, request []byte) (release func(), err error) {
	var held []net.Conn
	release = func() {
		for _, conn := range held {
			conn.Close()
		}
	}
	var dialer net.Dialer
	for range connections {
		conn, err := dialer.DialContext(ctx, "tcp", address)
		if err != nil {
			release()
			return nil, fmt.Errorf("open connection %d: %w", len(held)+1, err)
		}
		held = append(held, conn)
	}
	for range each {
		if err := askAll(held, request); err != nil {
			release()
			return nil, err
		}
	}
	return release, nil
}

// askAll has a request in flight on every connection at once.
func askAll(held []net.Conn, request []byte) error {
	for i, conn := range held {
		if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
			return fmt.Errorf("set deadline: %w", err)
		}
		if _, err := conn.Write(request); err != nil {
			return fmt.Errorf("ask on connection %d: %w", i+1, err)
		}
	}
	buffer := make([]byte, 32<<10)
	for i, conn := range held {
		if err := read(conn, buffer); err != nil {
			return fmt.Errorf("read on connection %d: %w", i+1, err)
		}
	}
	return nil
}

// read reads one response.
func read(conn net.Conn, buffer []byte) error {
	var r response
	for {
		n, err := conn.Read(buffer)
		complete, wrong := r.add(buffer[:n])
		if wrong != nil || complete {
			return wrong
		}
		if err != nil {
			return errors.Join(err, fmt.Errorf("after %d bytes", len(r.buffer)))
		}
	}
}
