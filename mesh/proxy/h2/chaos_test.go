package h2_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/sluice-mesh/sluice/mesh/ir"
)

// TestChaos lets many callers do all kinds of calls through both proxies, giving up at random, while the
// configuration changes. Each outcome must be one that the caller has brought about, and in the end nothing is
// in flight.
func TestChaos(t *testing.T) {
	pod := grpcApp(t, "one")
	b, called := chain(t, pod)
	to := netip.MustParseAddrPort(called.Door(pod))
	door := b.Door(shopAddress)
	var stop atomic.Bool
	var all sync.WaitGroup
	for i := range 6 {
		c := grpcClient(t, door)
		random := rand.New(rand.NewPCG(uint64(i), 7))
		all.Go(func() {
			for range 60 {
				ctx, cancel := context.WithCancel(with(t))
				if wait := random.IntN(40); wait < 20 {
					time.AfterFunc(time.Duration(wait)*time.Millisecond/4, cancel)
				}
				message, back := make([]byte, random.IntN(200_000)), []byte(nil)
				err := func() error {
					if random.IntN(2) == 0 {
						return c.Invoke(ctx, "/test.Service/Echo", &message, &back)
					}
					stream, err := c.NewStream(ctx, both, "/test.Service/Talk")
					for n := 0; err == nil && n < 10; n++ {
						if err = stream.SendMsg(&message); err == nil {
							err = stream.RecvMsg(&back)
						}
					}
					if err == nil {
						stream.CloseSend()
						err = stream.RecvMsg(&back)
					}
					if errors.Is(err, io.EOF) {
						return nil
					}
					return err
				}()
				switch {
				case ctx.Err() != nil && (err == nil || status.Code(err) == codes.Canceled):
				case err != nil:
					t.Errorf("caller %d: %v", i, err)
				case !bytes.Equal(message, back) && len(back) > 0 && len(back) != len(message):
					t.Errorf("caller %d: %d bytes of %d came back", i, len(back), len(message))
				}
				cancel()
			}
		})
	}
	var swapping sync.WaitGroup
	swapping.Go(func() {
		for n := 1; !stop.Load(); n++ {
			s := service("shop", shopAddress, ir.GRPC, ir.Split{}, revisions{"": {to}})
			s.Policy.Timeouts.Request = time.Duration(n) * time.Minute
			b.Apply(s)
			time.Sleep(3 * time.Millisecond)
		}
	})
	all.Wait()
	stop.Store(true)
	swapping.Wait()
	eventually(t, "no request is in flight", func() bool { return b.Active() == 0 && called.Active() == 0 })
}

// TestEarlyAnswers come before the request's body has: the caller gets them, and the body is not waited for.
func TestEarlyAnswers(t *testing.T) {
	pod := app(t, func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusRequestEntityTooLarge)
		io.WriteString(w, "too large")
	})
	b, called := chain(t, pod)
	c := client(t, b.Door(shopAddress))
	for range 20 {
		r, err := c.Post("http://shop/", "text/plain", strings.NewReader(strings.Repeat("x", 3<<20)))
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(r.Body)
		r.Body.Close()
		if r.StatusCode != 413 || string(body) != "too large" || err != nil {
			t.Fatalf("%s %q %v", r.Status, body, err)
		}
	}
	eventually(t, "no request is in flight", func() bool { return b.Active() == 0 && called.Active() == 0 })
	if got := b.Total("code=413"); got != 20 {
		t.Errorf("%v counted", got)
	}
}

// TestConnectionsThatDie cuts every connection to the endpoint again and again: each call ends, well or with
// UNAVAILABLE, and each is counted once.
func TestConnectionsThatDie(t *testing.T) {
	pod := grpcApp(t, "one")
	var mu sync.Mutex
	open := map[net.Conn]bool{}
	fragile := tcpApp(t, func(c net.Conn) {
		to, err := net.Dial("tcp", pod.String())
		if err != nil {
			return
		}
		defer to.Close()
		mu.Lock()
		open[c] = true
		mu.Unlock()
		go func() { io.Copy(c, to); c.Close() }()
		io.Copy(to, c)
	})
	b := outbound(t, ir.GRPC, ir.Split{}, revisions{"v1": {fragile}})
	var all, cutting sync.WaitGroup
	var calls, stop atomic.Int64
	for range 4 {
		c := grpcClient(t, b.Door(shopAddress))
		all.Go(func() {
			message, back := make([]byte, 30_000), []byte(nil)
			for range 100 {
				calls.Add(1)
				err := c.Invoke(with(t), "/test.Service/Echo", &message, &back)
				if code := status.Code(err); code != codes.OK && code != codes.Unavailable {
					t.Errorf("got %v", err)
				}
			}
		})
	}
	cutting.Go(func() {
		for stop.Load() == 0 {
			time.Sleep(5 * time.Millisecond)
			mu.Lock()
			for c := range open {
				c.(*net.TCPConn).SetLinger(0)
				c.Close()
			}
			clear(open)
			mu.Unlock()
		}
	})
	all.Wait()
	stop.Store(1)
	cutting.Wait()
	eventually(t, "no request is in flight", func() bool { return b.Active() == 0 })
	if got := b.Total(); got < float64(calls.Load()) { // the client may have repeated some
		t.Errorf("%v counted of %d", got, calls.Load())
	}
}
