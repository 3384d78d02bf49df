package relay

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
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

// pieces are bytes that tell where they belong.
func pieces(seed uint64, n int) []byte {
	all := make([]byte, n)
	random := rand.NewChaCha8([32]byte{byte(seed)})
	_, _ = random.Read(all)
	return all
}

// Bulk goes through in both directions at once, whole and in order, though the readers are slow and the writers
// pause; and what one connection left in a pipe when it broke off comes out of no other.
func TestBulk(t *testing.T) {
	const size = 6 << 20
	for round := range uint64(6) {
		client, clientNear := pipe(t)
		server, serverNear := pipe(t)
		pair := New(clientNear, serverNear)
		result := make(chan error, 1)
		go func() { result <- pair.Run() }()
		if round%2 == 0 { // nobody reads, so that all on the way is full when it breaks off
			go func() { _, _ = client.Write(pieces(round, 64<<20)) }()
			if _, err := io.CopyN(io.Discard, server, 2*bulk); err != nil {
				t.Fatal(err)
			}
			pair.Close()
			if err := <-result; !errors.Is(err, ErrClosed) {
				t.Errorf("Run = %v", err)
			}
			continue
		}
		var both sync.WaitGroup
		for i, way := range [][2]*net.TCPConn{{client, server}, {server, client}} {
			sent := pieces(10*round+uint64(i), size)
			both.Go(func() {
				for rest := sent; len(rest) > 0; { // in pieces of many sizes
					n := min(1+len(rest)%(700<<10), len(rest))
					if _, err := way[0].Write(rest[:n]); err != nil {
						t.Error(err)
						return
					}
					rest = rest[n:]
				}
				way[0].CloseWrite()
			})
			both.Go(func() {
				got, err := io.ReadAll(way[1])
				if err != nil || !bytes.Equal(got, sent) {
					t.Errorf("%d bytes of %d, the same: %v, %v", len(got), len(sent), bytes.Equal(got, sent), err)
				}
			})
		}
		both.Wait()
		if err := <-result; err != nil {
			t.Errorf("Run = %v", err)
		}
	}
}

// While the sink takes nothing, the source does not wake the proxy for each arrival, and its buffer stays what it
// was. What comes after that goes on at once, be it one byte.
func TestHush(t *testing.T) {
	option := func(c *net.TCPConn, name int) (value int) {
		raw, err := c.SyscallConn()
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(raw.Control(func(fd uintptr) {
			value, err = unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, name)
		}), err); err != nil {
			t.Fatal(err)
		}
		return value
	}
	client, clientNear := pipe(t)
	server, serverNear := pipe(t)
	client.SetReadBuffer(64 << 10)
	pair := New(clientNear, serverNear)
	result := make(chan error, 1)
	go func() { result <- pair.Run() }()

	sent := pieces(1, 64<<20)
	written := make(chan error, 1)
	go func() {
		_, err := server.Write(sent)
		written <- err
	}()
	// The kernel makes the buffer grow while something moves.
	deadline := time.Now().Add(10 * time.Second)
	before := option(serverNear, unix.SO_RCVBUF)
	for same := 0; same < 5; {
		if time.Now().After(deadline) {
			t.Fatal("the source was never hushed for good")
		}
		time.Sleep(20 * time.Millisecond)
		now := option(serverNear, unix.SO_RCVBUF)
		if same++; now != before || option(serverNear, unix.SO_RCVLOWAT) == 1 {
			before, same = now, 0
		}
	}
	raw, _ := serverNear.SyscallConn()
	_ = raw.Control(hush)
	if after := option(serverNear, unix.SO_RCVBUF); after != before {
		t.Errorf("the kernel's buffer went from %d to %d bytes", before, after)
	}

	got := make([]byte, len(sent))
	if _, err := io.ReadFull(client, got); err != nil || !bytes.Equal(got, sent) {
		t.Fatalf("the same: %v, %v", bytes.Equal(got, sent), err)
	}
	if err := <-written; err != nil {
		t.Fatal(err)
	}
	for range 3 {
		io.WriteString(server, "x")
		if _, err := io.ReadFull(client, got[:1]); err != nil || got[0] != 'x' {
			t.Fatalf("%q, %v", got[:1], err)
		}
	}
	if lowat := option(serverNear, unix.SO_RCVLOWAT); lowat != 1 {
		t.Errorf("woken from %d bytes on", lowat)
	}
	pair.Close()
	<-result
}

// No descriptor is left behind, but for the spare pipes.
func TestDescriptors(t *testing.T) {
	count := func() int {
		entries, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Skip(err)
		}
		return len(entries)
	}
	before := count()
	var all sync.WaitGroup
	for n := range 40 {
		client, clientNear := pipe(t)
		server, serverNear := pipe(t)
		all.Go(func() {
			pair := New(clientNear, serverNear)
			go func() {
				_, _ = io.CopyN(server, zeros{}, 4<<20)
				server.Close()
			}()
			go func() {
				_, _ = io.CopyN(io.Discard, client, int64(n)*100<<10)
				client.Close()
			}()
			_ = pair.Run()
		})
	}
	all.Wait()
	after := count()
	for deadline := time.Now().Add(10 * time.Second); after > before+2*cap(spare) && time.Now().Before(deadline); after = count() {
		time.Sleep(time.Millisecond) // the far ends close by themselves
	}
	if after > before+2*cap(spare) {
		t.Errorf("%d descriptors, %d before", after, before)
	}
}

type zeros struct{}

func (zeros) Read(into []byte) (int, error) { return len(into), nil }

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

// A connection that still delivers is not idle, however long ago its sender was heard of.
func TestIdlers(t *testing.T) {
	const limit = 500 * time.Millisecond
	client, clientNear := pipe(t)
	server, serverNear := pipe(t)
	if err := client.SetReadBuffer(8 << 10); err != nil {
		t.Fatal(err)
	}
	pair := New(clientNear, serverNear)
	var idlers Idlers
	defer idlers.Add(pair, limit)()
	result := make(chan error, 1)
	go func() { result <- pair.Run() }()
	said := pieces(1, 256<<10)
	go func() { _, _ = server.Write(said) }()
	var got []byte
	for piece := make([]byte, 16<<10); len(got) < len(said); { // for longer than the limit
		n, err := io.ReadFull(client, piece)
		if got = append(got, piece[:n]...); err != nil {
			t.Fatalf("cut after %d bytes of %d: %v", len(got), len(said), err)
		}
		time.Sleep(30 * time.Millisecond)
		idlers.Cut(time.Now())
	}
	if !bytes.Equal(got, said) {
		t.Error("other bytes came")
	}
	for begun := time.Now(); ; time.Sleep(10 * time.Millisecond) {
		idlers.Cut(time.Now())
		select {
		case err := <-result:
			if took := time.Since(begun); !errors.Is(err, ErrClosed) || took < limit/2 {
				t.Errorf("ended with %v after %v", err, took)
			}
			return
		default:
			if time.Since(begun) > 20*limit {
				t.Fatal("an idle connection was not cut")
			}
		}
	}
}
