package h2_test

import (
	"io"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/sluice-mesh/sluice/mesh/ir"
)

// TestSwapsLoseNothing changes weights and endpoints while requests and streams run.
func TestSwapsLoseNothing(t *testing.T) {
	one, two, three := grpcApp(t, "one"), grpcApp(t, "two"), grpcApp(t, "three")
	b := outbound(t, ir.GRPC, release(1, 10), revisions{"v1": {one, three}, "v2": {two}})
	c := grpcClient(t, b.Door(shopAddress))
	stream := talk(t, c)
	var stop atomic.Bool
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			message, back := make([]byte, 3000), []byte(nil)
			for !stop.Load() {
				if err := c.Invoke(with(t), "/test.Service/Echo", &message, &back); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	for epoch := int64(2); epoch < 200; epoch++ {
		v1 := []netip.AddrPort{one, three}
		if epoch%2 == 0 {
			v1 = v1[:1]
		}
		b.Apply(service("shop", shopAddress, ir.GRPC, release(epoch, uint32(epoch%100)), revisions{"v1": v1, "v2": {two}}))
		time.Sleep(time.Millisecond)
	}
	stop.Store(true)
	all.Wait()
	say(t, stream)
	hangUp(t, stream)
	eventually(t, "no request is in flight", func() bool { return b.Active() == 0 })
	if started, ok := b.Total(), b.Total("grpc_status=0"); started != ok {
		t.Errorf("%v requests, %v of them well", started, ok)
	}
}

// TestSplitIsDrawnForEachStream checks a weight of a quarter on one connection. With 2000 draws the share is
// within 5 points of it but for one run in ten million.
func TestSplitIsDrawnForEachStream(t *testing.T) {
	one, two := app(t, func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "1") }), app(t, func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "2") })
	b := outbound(t, ir.HTTP2, release(1, 25), revisions{"v1": {one}, "v2": {two}})
	c := client(t, b.Door(shopAddress))
	canary := 0
	for range 2000 {
		if _, body := get(t, c, "/"); body == "2" {
			canary++
		}
	}
	if canary < 400 || canary > 600 {
		t.Errorf("%d of 2000 on the canary", canary)
	}
	if got := b.Total("revision=v2", "weight=25"); got != float64(canary) {
		t.Errorf("%v counted, want %d", got, canary)
	}
}

// TestStreamsOfADrainedRevision are cut at the drain's deadline, with a status that says so.
func TestStreamsOfADrainedRevision(t *testing.T) {
	one, two := grpcApp(t, "one"), grpcApp(t, "two")
	b := outbound(t, ir.GRPC, release(1, 100), revisions{"v1": {one}, "v2": {two}})
	c := grpcClient(t, b.Door(shopAddress))
	stream := talk(t, c)
	b.Apply(service("shop", shopAddress, ir.GRPC, release(2, 0), revisions{"v1": {one}, "v2": {two}}))
	other := talk(t, c)
	eventually(t, "the stream is known and cut", func() bool { return b.Table().CloseOverdue(time.Now().Add(time.Hour), time.Minute) == 1 })
	var none []byte
	if err := stream.RecvMsg(&none); status.Code(err) != codes.Unavailable {
		t.Errorf("got %v", err)
	}
	hangUp(t, other)
}
