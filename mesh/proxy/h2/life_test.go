package h2_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/sluice-mesh/sluice/mesh/ir"
)

var both = &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}

// talk opens a stream and has one word echoed on it.
func talk(t testing.TB, c *grpc.ClientConn) grpc.ClientStream {
	t.Helper()
	stream, err := c.NewStream(with(t), both, "/test.Service/Talk")
	if err != nil {
		t.Fatal(err)
	}
	say(t, stream)
	return stream
}

func say(t testing.TB, stream grpc.ClientStream) {
	t.Helper()
	word, back := []byte("hello"), []byte(nil)
	if err := stream.SendMsg(&word); err != nil {
		t.Fatal(err)
	}
	if err := stream.RecvMsg(&back); err != nil || string(back) != "hello" {
		t.Fatalf("%q, %v", back, err)
	}
}

func hangUp(t testing.TB, stream grpc.ClientStream) {
	t.Helper()
	stream.CloseSend()
	var none []byte
	if err := stream.RecvMsg(&none); !errors.Is(err, io.EOF) {
		t.Errorf("end of the stream: %v", err)
	}
}

// TestDrain has a stream open when callers are sent away: it goes on, new requests on the connection are taken
// until the caller knows, and the connection ends with the stream.
func TestDrain(t *testing.T) {
	b := outbound(t, ir.GRPC, ir.Split{}, revisions{"v1": {grpcApp(t, "one")}})
	door := b.Door(shopAddress)
	c := grpcClient(t, door)
	stream := talk(t, c)
	r := dialRaw(t, door)
	r.request(1, true, "content-type", "application/grpc")
	r.until("the answer", func(f http2.Frame) bool { h, ok := f.(*http2.MetaHeadersFrame); return ok && h.StreamEnded() })

	b.Drain()
	var told []uint32
	note := func(f http2.Frame) {
		if away, ok := f.(*http2.GoAwayFrame); ok {
			told = append(told, away.LastStreamID)
		}
	}
	var ping [8]byte
	r.until("the PING", func(f http2.Frame) bool {
		note(f)
		p, ok := f.(*http2.PingFrame)
		if ok {
			ping = p.Data
		}
		return ok
	})
	r.request(3, true, "content-type", "application/grpc") // from before it knew
	r.WritePing(true, ping)
	answered := false
	r.until("the last GOAWAY and the answer", func(f http2.Frame) bool {
		note(f)
		if h, ok := f.(*http2.MetaHeadersFrame); ok {
			answered = h.StreamID == 3 && h.StreamEnded()
		}
		return answered && len(told) > 1
	})
	if len(told) != 2 || told[0] != 1<<31-1 || told[1] != 3 {
		t.Errorf("GOAWAY named %v", told)
	}
	if _, err := io.Copy(io.Discard, r.conn); err != nil {
		t.Errorf("the connection did not end in order: %v", err)
	}

	say(t, stream) // goes on
	hangUp(t, stream)
	say(t, talk(t, c)) // on a new connection
}

// TestDrainOfACallerThatDoesNotAnswer ends its connection all the same.
func TestDrainOfACallerThatDoesNotAnswer(t *testing.T) {
	b := outbound(t, ir.HTTP2, ir.Split{}, revisions{"v1": {app(t, func(http.ResponseWriter, *http.Request) {})}})
	r := dialRaw(t, b.Door(shopAddress))
	r.request(1, true)
	r.until("the answer", func(f http2.Frame) bool { h, ok := f.(*http2.MetaHeadersFrame); return ok && h.StreamEnded() })
	b.Drain()
	r.until("the last GOAWAY", func(f http2.Frame) bool {
		away, ok := f.(*http2.GoAwayFrame)
		return ok && away.LastStreamID == 1
	})
	if _, err := io.Copy(io.Discard, r.conn); err != nil {
		t.Errorf("the connection did not end in order: %v", err)
	}
	late := dialRaw(t, b.Door(shopAddress)) // a new one is taken, and told with its first request
	late.request(1, true)
	late.until("the answer", func(f http2.Frame) bool { h, ok := f.(*http2.MetaHeadersFrame); return ok && h.StreamEnded() })
	late.until("GOAWAY", func(f http2.Frame) bool { _, ok := f.(*http2.GoAwayFrame); return ok })
}

func TestEndpointDiesWithStreamsOpen(t *testing.T) {
	conns := make(chan net.Conn, 10)
	pod := tcpApp(t, func(conn net.Conn) {
		io.ReadFull(conn, make([]byte, len(http2.ClientPreface)))
		r := newRaw(t, conn)
		r.WriteSettings()
		for {
			f, err := r.ReadFrame()
			if err != nil {
				return
			}
			if h, ok := f.(*http2.MetaHeadersFrame); ok && h.PseudoValue("path") != "/silent" {
				r.WriteHeaders(http2.HeadersFrameParam{
					StreamID: h.StreamID, EndHeaders: true, BlockFragment: r.encode(":status", "200", "content-type", "application/grpc"),
				})
				conns <- conn
			}
		}
	})
	b := outbound(t, ir.GRPC, ir.Split{}, revisions{"v1": {pod}})
	c := grpcClient(t, b.Door(shopAddress))
	open, err := c.NewStream(with(t), both, "/begun")
	if err != nil {
		t.Fatal(err)
	}
	conn := <-conns
	silent, err := c.NewStream(with(t), both, "/silent")
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "two in flight", func() bool { return b.Active() == 2 })
	conn.(*net.TCPConn).SetLinger(0)
	conn.Close()
	for _, stream := range []grpc.ClientStream{open, silent} {
		var none []byte
		if err := stream.RecvMsg(&none); status.Code(err) != codes.Unavailable {
			t.Errorf("got %v", err)
		}
	}
	eventually(t, "counted", func() bool { return b.Total("code=502") == 1 && b.Total("code=0") == 1 })
}

func TestResetsPassBothWays(t *testing.T) {
	codesSeen := make(chan http2.ErrCode, 1)
	pod := rawApp(t, func(r *raw) {
		for {
			f, err := r.ReadFrame()
			if err != nil {
				return
			}
			switch f := f.(type) {
			case *http2.MetaHeadersFrame:
				if f.PseudoValue("path") == "/reset" {
					r.WriteHeaders(http2.HeadersFrameParam{StreamID: f.StreamID, EndHeaders: true, BlockFragment: r.encode(":status", "200")})
					r.WriteData(f.StreamID, false, []byte("some"))
					r.WriteRSTStream(f.StreamID, http2.ErrCodeInadequateSecurity)
				}
			case *http2.RSTStreamFrame:
				codesSeen <- f.ErrCode
			}
		}
	})
	b := outbound(t, ir.HTTP2, ir.Split{}, revisions{"v1": {pod}})
	r := dialRaw(t, b.Door(shopAddress))
	r.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, EndHeaders: true, EndStream: true,
		BlockFragment: r.encode(":method", "GET", ":scheme", "http", ":path", "/reset", ":authority", "shop")})
	r.until("the endpoint's reset", func(f http2.Frame) bool {
		reset, ok := f.(*http2.RSTStreamFrame)
		if ok && reset.ErrCode != http2.ErrCodeInadequateSecurity {
			t.Errorf("reset with %v", reset.ErrCode)
		}
		return ok
	})
	r.request(3, false)
	eventually(t, "the request is in flight", func() bool { return b.Active() == 1 })
	r.WriteData(3, false, []byte("part"))
	r.WriteRSTStream(3, http2.ErrCodeNo)
	if c := <-codesSeen; c != http2.ErrCodeNo {
		t.Errorf("the endpoint saw %v", c)
	}
	eventually(t, "counted", func() bool { return b.Total("code=502") == 1 && b.Total("code=499") == 1 })
}

func TestDeadlinesAndCancellation(t *testing.T) {
	b, called := chain(t, grpcApp(t, "one"))
	c := grpcClient(t, b.Door(shopAddress))
	ctx, cancel := context.WithTimeout(with(t, "do", "wait"), 50*time.Millisecond)
	defer cancel()
	message := []byte("x")
	var none []byte
	if err := c.Invoke(ctx, "/test.Service/Wait", &message, &none); status.Code(err) != codes.DeadlineExceeded {
		t.Errorf("got %v", err)
	}
	ctx, cancel = context.WithCancel(with(t))
	stream, err := c.NewStream(ctx, both, "/test.Service/Talk")
	if err != nil {
		t.Fatal(err)
	}
	say(t, stream)
	cancel()
	if err := stream.RecvMsg(&none); status.Code(err) != codes.Canceled {
		t.Errorf("got %v", err)
	}
	eventually(t, "no request is in flight", func() bool { return b.Active() == 0 && called.Active() == 0 })
}

func TestCloseEndsEverything(t *testing.T) {
	pod := grpcApp(t, "one")
	b := outbound(t, ir.GRPC, ir.Split{}, revisions{"v1": {pod}})
	stream := talk(t, grpcClient(t, b.Door(shopAddress)))
	b.Close()
	if b.Active() != 0 {
		t.Errorf("%d in flight after Close", b.Active())
	}
	var none []byte
	if err := stream.RecvMsg(&none); status.Code(err) != codes.Unavailable {
		t.Errorf("got %v", err)
	}
}
