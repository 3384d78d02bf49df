package h1_test

import (
	"bufio"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/sluice-mesh/sluice/mesh/ir"
)

const (
	askForEcho = "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n"
	echoes     = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n"
)

// echo is an application that answers to an upgrade and then says back what it hears.
func echo(c net.Conn, r *bufio.Reader) {
	readHead(r)
	io.WriteString(c, echoes)
	io.Copy(c, r)
}

// upgraded gives a connection that has been upgraded, and its table's bench.
func upgraded(t *testing.T, policy ir.Policy, application func(net.Conn, *bufio.Reader), said string) (*bench, *net.TCPConn, *bufio.Reader) {
	t.Helper()
	b := outbound(t, nil)
	b.Apply(with(policy, raw(t, application)))
	conn, r := b.say(askForEcho + said)
	if head := readHead(r); !strings.HasPrefix(head, "HTTP/1.1 101 ") {
		t.Fatalf("heard %q", head)
	}
	return b, conn.(*net.TCPConn), r
}

func hears(t *testing.T, r io.Reader, want string) {
	t.Helper()
	got := make([]byte, len(want))
	if _, err := io.ReadFull(r, got); err != nil || string(got) != want {
		t.Fatalf("heard %q, %v; want %q", got, err, want)
	}
}

// The time limit of a request is not one of what it has been upgraded to.
func TestUpgradeOutlivesTheRequestTimeout(t *testing.T) {
	const limit = 500 * time.Millisecond
	_, conn, r := upgraded(t, ir.Policy{Timeouts: ir.Timeouts{Request: limit}}, echo, "")
	time.Sleep(2 * limit)
	for range 3 {
		io.WriteString(conn, "hello")
		hears(t, r, "hello")
	}
}

// What a caller says with its request, before it knows of the switch, comes before what it says later.
func TestUpgradeOfACallerInAHurry(t *testing.T) {
	_, conn, r := upgraded(t, ir.Policy{}, echo, "early ")
	io.WriteString(conn, "late")
	hears(t, r, "early late")
	conn.CloseWrite()
	if rest, err := io.ReadAll(r); err != nil || len(rest) > 0 {
		t.Errorf("after its end it heard %q, %v; want the application's end", rest, err)
	}
}

func TestIdleTimeoutOfAnUpgrade(t *testing.T) {
	const limit = time.Second
	b, conn, r := upgraded(t, ir.Policy{Timeouts: ir.Timeouts{Idle: limit}}, echo, "")
	for range 4 { // longer than the limit in all
		time.Sleep(limit / 3)
		io.WriteString(conn, "hello")
		hears(t, r, "hello")
	}
	conn.SetReadDeadline(time.Now().Add(10 * time.Second))
	if _, err := r.ReadByte(); err == nil || errors.Is(err, io.EOF) || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("a silent connection ended with %v, want a reset", err)
	}
	eventually(t, "the end", func() bool { return b.Active() == 0 })
}

// A side that breaks off is passed on as such, also when the other has half-closed.
func TestUpgradeBrokenOff(t *testing.T) {
	b, conn, r := upgraded(t, ir.Policy{}, func(c net.Conn, r *bufio.Reader) {
		readHead(r)
		io.WriteString(c, echoes)
		io.Copy(io.Discard, r) // the caller's end
		c.(*net.TCPConn).SetLinger(0)
		c.Close()
	}, "")
	conn.CloseWrite()
	conn.SetReadDeadline(time.Now().Add(10 * time.Second))
	if _, err := r.ReadByte(); err == nil || errors.Is(err, io.EOF) || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("heard %v, want a reset", err)
	}
	eventually(t, "the end", func() bool { return b.Active() == 0 })
}

// Closing the server ends a connection whose caller has half-closed and whose endpoint is silent.
func TestCloseCutsAHalfClosedUpgrade(t *testing.T) {
	closed := make(chan struct{})
	b, conn, _ := upgraded(t, ir.Policy{}, func(c net.Conn, r *bufio.Reader) {
		readHead(r)
		io.WriteString(c, echoes)
		io.Copy(io.Discard, r)
		close(closed)
		<-t.Context().Done()
	}, "")
	conn.CloseWrite()
	<-closed
	done := make(chan struct{})
	go func() { defer close(done); b.Close() }()
	select {
	case <-done:
	case <-time.After(10 * time.Second):
		t.Fatal("it held up the end")
	}
}
