package relay

import (
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func pipe(t *testing.T) (far, near *net.TCPConn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	f, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	n, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close(); n.Close() })
	f.SetDeadline(time.Now().Add(20 * time.Second))
	return f.(*net.TCPConn), n.(*net.TCPConn)
}

// How a pair ends, by what one of its sides does.
func TestEnds(t *testing.T) {
	abort := func(c *net.TCPConn) { c.SetLinger(0); c.Close() }
	for name, c := range map[string]struct {
		act  func(client, server *net.TCPConn, pair *Pair)
		want error
		// broken: the other side must not take it for an orderly end.
		other func(client, server *net.TCPConn) *net.TCPConn
	}{
		"both close in order":   {act: func(c, s *net.TCPConn, _ *Pair) { c.CloseWrite(); s.CloseWrite() }},
		"server resets":         {func(_, s *net.TCPConn, _ *Pair) { abort(s) }, ErrServer, func(c, _ *net.TCPConn) *net.TCPConn { return c }},
		"client resets":         {func(c, _ *net.TCPConn, _ *Pair) { abort(c) }, ErrClient, func(_, s *net.TCPConn) *net.TCPConn { return s }},
		"closed from outside":   {func(_, _ *net.TCPConn, p *Pair) { p.Close() }, ErrClosed, func(c, _ *net.TCPConn) *net.TCPConn { return c }},
		"closed more than once": {func(_, _ *net.TCPConn, p *Pair) { p.Close(); p.Close() }, ErrClosed, nil},
	} {
		t.Run(name, func(t *testing.T) {
			client, clientNear := pipe(t)
			server, serverNear := pipe(t)
			pair := New(clientNear, serverNear)
			result := make(chan error, 1)
			go func() { result <- pair.Run() }()
			io.WriteString(client, "there")
			io.ReadFull(server, make([]byte, 5))
			io.WriteString(server, "back")
			io.ReadFull(client, make([]byte, 4))
			c.act(client, server, pair)
			if got := <-result; !errors.Is(got, c.want) {
				t.Errorf("Run = %v, want %v", got, c.want)
			}
			if c.other != nil {
				if _, err := io.ReadAll(c.other(client, server)); err == nil {
					t.Error("the other side saw an orderly end")
				}
			}
			if err := pair.Close(); err != nil {
				t.Errorf("Close afterwards: %v", err)
			}
		})
	}
}
