package h1_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/sluice-mesh/sluice/mesh/ir"
	"github.com/sluice-mesh/sluice/mesh/proxy/engine"
	"github.com/sluice-mesh/sluice/mesh/proxy/table"
)

// An endpoint that answers early and leaves the body where it is still waits for it: what comes next on that
// connection would be taken for body, and what the body says for requests.
func TestUnfinishedUploadEndsItsConnection(t *testing.T) {
	for name, timeouts := range map[string]ir.Timeouts{"no limits": {}, "limits": {Request: time.Minute}} {
		t.Run(name, func(t *testing.T) {
			var mu sync.Mutex
			var firsts []string
			letGo := make(chan struct{})
			l := listen(t, podHost()+":0")
			raw, _ := l.SyscallConn()
			raw.Control(func(fd uintptr) { syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, 4<<10) })
			var serving sync.WaitGroup
			serving.Go(func() {
				for {
					conn, err := l.Accept()
					if err != nil {
						return
					}
					serving.Go(func() {
						defer conn.Close()
						r := bufio.NewReaderSize(conn, 16)
						head := readHead(r)
						mu.Lock()
						firsts = append(firsts, strings.SplitN(head, " ", 3)[0])
						mu.Unlock()
						io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
						if strings.HasPrefix(head, "POST") {
							<-letGo
						}
						io.Copy(io.Discard, r)
					})
				}
			})
			t.Cleanup(func() { l.Close(); close(letGo); serving.Wait() })
			b := outbound(t, func(o *engine.Options) {
				o.Dial = func(ctx context.Context, e *table.Endpoint, _ string) (net.Conn, error) {
					conn, err := (&net.Dialer{Timeout: time.Second}).DialContext(ctx, "tcp", e.Address.String())
					if err == nil {
						conn.(*net.TCPConn).SetWriteBuffer(4 << 10)
					}
					return conn, err
				}
			})
			b.Apply(with(ir.Policy{Timeouts: timeouts}, l.Addr().(*net.TCPAddr).AddrPort()))
			const size = 31 << 10
			conn, r := b.say(fmt.Sprintf("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n", size))
			if head := readHead(r); !strings.HasPrefix(head, "HTTP/1.1 200 ") {
				t.Fatalf("heard %q", head)
			}
			conn.Write(make([]byte, size)) // within the grace after the response
			eventually(t, "the end of the request", func() bool { return b.Active() == 0 })
			if code, body := get(t, b.client(), "/"); code != 200 || body != "ok" {
				t.Errorf("afterwards: %d %q", code, body)
			}
			mu.Lock()
			defer mu.Unlock()
			if len(firsts) != 2 || firsts[1] != "GET" {
				t.Errorf("the connections began with %q, want one of its own for GET", firsts)
			}
		})
	}
}

// A request of HTTP/1.0 is the last of its connection to the endpoint too, whatever the answer says.
func TestHTTP10EndsTheEndpointsConnection(t *testing.T) {
	var conns atomic.Int32
	app := raw(t, func(c net.Conn, r *bufio.Reader) {
		conns.Add(1)
		for readHead(r) != "" {
			io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
		}
	})
	b := outbound(t, nil)
	b.Apply(plainShop(app))
	for range 3 {
		_, r := b.say("GET / HTTP/1.0\r\n\r\n")
		if got := answers(t, r); len(got) != 1 || got[0] != "200 ok" {
			t.Errorf("heard %q", got)
		}
	}
	if conns.Load() != 3 {
		t.Errorf("%d connections, want 3", conns.Load())
	}
}

// together lets what is written to it go out in one piece.
type together struct {
	net.Conn
	hold bool
	held []byte
}

func (t *together) Write(p []byte) (int, error) {
	if !t.hold {
		return t.Conn.Write(p)
	}
	t.held = append(t.held, p...)
	return len(p), nil
}

// With TLS too, a kept connection that has ended costs no request, and one that said more than it was asked
// for is not used again: neither when it came in one piece nor later.
func TestKeptConnectionsOverTLS(t *testing.T) {
	const ok, evil = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"
	secure := httptest.NewUnstartedServer(nil)
	secure.StartTLS()
	t.Cleanup(secure.Close)
	for name, answer := range map[string]func(c net.Conn){
		"ends": func(c net.Conn) { io.WriteString(c, ok); c.Close() },
		"at once": func(c net.Conn) {
			together := c.(*tls.Conn).NetConn().(*together)
			together.hold = true
			io.WriteString(c, ok)
			io.WriteString(c, evil)
			together.Conn.Write(together.held)
		},
		"later": func(c net.Conn) {
			io.WriteString(c, ok)
			time.Sleep(5 * time.Millisecond)
			io.WriteString(c, evil)
		},
	} {
		t.Run(name, func(t *testing.T) {
			said := make(chan struct{}, 10)
			app := raw(t, func(c net.Conn, _ *bufio.Reader) {
				secured := tls.Server(&together{Conn: c}, secure.TLS)
				defer secured.Close()
				r := bufio.NewReader(secured)
				if head := readHead(r); head != "" {
					io.ReadFull(r, make([]byte, 1))
					answer(secured)
					said <- struct{}{}
					io.Copy(io.Discard, secured)
				}
			})
			b := outbound(t, func(o *engine.Options) {
				o.Dial = func(ctx context.Context, e *table.Endpoint, _ string) (net.Conn, error) {
					d := tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true}}
					return d.DialContext(ctx, "tcp", e.Address.String())
				}
			})
			b.Apply(plainShop(app))
			client := b.client()
			for i := range 5 {
				response, err := client.Post("http://shop.demo/", "", strings.NewReader("x"))
				if err != nil {
					t.Fatal(err)
				}
				body, _ := io.ReadAll(response.Body)
				response.Body.Close()
				if response.StatusCode != 200 || string(body) != "ok" {
					t.Fatalf("POST %d: %d %q", i, response.StatusCode, body)
				}
				<-said
				time.Sleep(20 * time.Millisecond) // what comes later arrives
			}
		})
	}
}

// A mirror's kept connection that has ended costs no copy.
func TestMirrorsClosedConnection(t *testing.T) {
	got := make(chan string, 10)
	mirror := raw(t, func(c net.Conn, r *bufio.Reader) {
		if head := readHead(r); head != "" {
			io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n") // promises to stay, and closes
			c.Close()
			got <- head
		}
	})
	b := outbound(t, nil)
	s := plainShop(says(t, "v1"))
	s.Routes = []ir.Route{{Name: "m", Mirrors: []ir.Mirror{{Service: "demo/copy", Port: 80, Share: ir.Million}}}}
	copied := plainShop(mirror)
	copied.Name, copied.Addresses = "copy", []netip.Addr{netip.MustParseAddr("10.96.0.9")}
	b.Apply(copied, s)
	client := b.client()
	for i := range 5 {
		get(t, client, "/")
		select {
		case <-got:
		case <-time.After(10 * time.Second):
			t.Fatalf("copy %d has not come", i)
		}
		time.Sleep(20 * time.Millisecond) // the end arrives
	}
}

// An endpoint that answers to the head is heard even if the caller has sent just as much as a buffer takes and
// waits for the answer.
func TestBodyThatFillsTheBuffer(t *testing.T) {
	app := raw(t, func(c net.Conn, r *bufio.Reader) {
		for readHead(r) != "" {
			io.WriteString(c, "HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\nno")
			io.Copy(io.Discard, r)
		}
	})
	b := outbound(t, nil)
	b.Apply(plainShop(app))
	head := "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 8000\r\n\r\n"
	_, r := b.say(head + strings.Repeat("b", 4<<10-len(head)))
	if got := answers(t, r); len(got) != 1 || got[0] != "413 no" {
		t.Errorf("heard %q", got)
	}
}
