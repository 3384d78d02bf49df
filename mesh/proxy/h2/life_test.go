package h2_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/sluice-mesh/sluice/mesh/ir"
	"github.com/sluice-mesh/sluice/mesh/proxy/engine"
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
	door := b.door(shopAddress)
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
	r := dialRaw(t, b.door(shopAddress))
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
	late := dialRaw(t, b.door(shopAddress)) // a new one is taken, and told with its first request
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
	c := grpcClient(t, b.door(shopAddress))
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
	eventually(t, "counted", func() bool { return b.total("code=502") == 1 && b.total("code=0") == 1 })
}

// TestSlowReceiver reads nothing of one response: others on the same connections go on.
func TestSlowReceiver(t *testing.T) {
	pod := app(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/large" {
			w.Write(make([]byte, 8<<20))
		}
	})
	b := outbound(t, ir.HTTP2, ir.Split{}, revisions{"v1": {pod}})
	r := dialRaw(t, b.door(shopAddress))
	r.WriteWindowUpdate(0, 1<<30)
	for id := uint32(1); id < 40; id += 2 { // their windows stay at 64 KiB
		r.WriteHeaders(http2.HeadersFrameParam{StreamID: id, EndHeaders: true, EndStream: true,
			BlockFragment: r.encode(":method", "GET", ":scheme", "http", ":path", "/large", ":authority", "shop")})
	}
	r.request(101, true)
	got := map[uint32]int{}
	r.until("the small response", func(f http2.Frame) bool {
		if d, ok := f.(*http2.DataFrame); ok {
			got[d.StreamID] += len(d.Data())
		}
		h, ok := f.(*http2.MetaHeadersFrame)
		return ok && h.StreamID == 101
	})
	// One of them goes on when it is given window.
	r.WriteWindowUpdate(1, 8<<20)
	r.until("the end of a large response", func(f http2.Frame) bool {
		d, ok := f.(*http2.DataFrame)
		if ok {
			got[d.StreamID] += len(d.Data())
		}
		return ok && d.StreamID == 1 && d.StreamEnded()
	})
	if got[1] != 8<<20 {
		t.Errorf("%d bytes came", got[1])
	}
	for id := uint32(3); id < 40; id += 2 {
		if got[id] > 65535 {
			t.Errorf("stream %d got %d bytes", id, got[id])
		}
	}
}

// TestSlowSocket stops reading altogether: what is buffered is bounded, and all comes in the end.
func TestSlowSocket(t *testing.T) {
	var sent atomic.Int64
	pod := app(t, func(w http.ResponseWriter, r *http.Request) {
		for range 1024 {
			n, _ := w.Write(make([]byte, 64<<10))
			sent.Add(int64(n))
		}
	})
	b := outbound(t, ir.HTTP2, ir.Split{}, revisions{"v1": {pod}})
	r := dialRaw(t, b.door(shopAddress), http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1<<31 - 1})
	r.WriteWindowUpdate(0, 1<<30)
	r.request(1, true)
	before := int64(-1)
	for n := sent.Load(); n != before || n == 0; n = sent.Load() { // until it has come to rest
		before = n
		time.Sleep(100 * time.Millisecond)
	}
	if before > 32<<20 {
		t.Errorf("%d bytes were taken from the endpoint", before)
	}
	total := 0
	r.until("the end", func(f http2.Frame) bool {
		d, ok := f.(*http2.DataFrame)
		if ok {
			total += len(d.Data())
		}
		return ok && d.StreamEnded()
	})
	if total != 64<<20 {
		t.Errorf("%d bytes came", total)
	}
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
	r := dialRaw(t, b.door(shopAddress))
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
	eventually(t, "counted", func() bool { return b.total("code=502") == 1 && b.total("code=499") == 1 })
}

// TestSwapsLoseNothing changes weights and endpoints while requests and streams run.
func TestSwapsLoseNothing(t *testing.T) {
	one, two, three := grpcApp(t, "one"), grpcApp(t, "two"), grpcApp(t, "three")
	b := outbound(t, ir.GRPC, release(1, 10), revisions{"v1": {one, three}, "v2": {two}})
	c := grpcClient(t, b.door(shopAddress))
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
		b.apply(service("shop", shopAddress, ir.GRPC, release(epoch, uint32(epoch%100)), revisions{"v1": v1, "v2": {two}}))
		time.Sleep(time.Millisecond)
	}
	stop.Store(true)
	all.Wait()
	say(t, stream)
	hangUp(t, stream)
	eventually(t, "no request is in flight", func() bool { return b.Active() == 0 })
	if started, ok := b.total(), b.total("grpc_status=0"); started != ok {
		t.Errorf("%v requests, %v of them well", started, ok)
	}
}

// TestSplitIsDrawnForEachStream checks a weight of a quarter on one connection. With 2000 draws the share is
// within 5 points of it but for one run in ten million.
func TestSplitIsDrawnForEachStream(t *testing.T) {
	one, two := app(t, func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "1") }), app(t, func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "2") })
	b := outbound(t, ir.HTTP2, release(1, 25), revisions{"v1": {one}, "v2": {two}})
	c := client(t, b.door(shopAddress))
	canary := 0
	for range 2000 {
		if _, body := get(t, c, "/"); body == "2" {
			canary++
		}
	}
	if canary < 400 || canary > 600 {
		t.Errorf("%d of 2000 on the canary", canary)
	}
	if got := b.total("revision=v2", "weight=25"); got != float64(canary) {
		t.Errorf("%v counted, want %d", got, canary)
	}
}

// TestStreamsOfADrainedRevision are cut at the drain's deadline, with a status that says so.
func TestStreamsOfADrainedRevision(t *testing.T) {
	one, two := grpcApp(t, "one"), grpcApp(t, "two")
	b := outbound(t, ir.GRPC, release(1, 100), revisions{"v1": {one}, "v2": {two}})
	c := grpcClient(t, b.door(shopAddress))
	stream := talk(t, c)
	b.apply(service("shop", shopAddress, ir.GRPC, release(2, 0), revisions{"v1": {one}, "v2": {two}}))
	other := talk(t, c)
	eventually(t, "the stream is known and cut", func() bool { return b.table.Load().CloseOverdue(time.Now().Add(time.Hour), time.Minute) == 1 })
	var none []byte
	if err := stream.RecvMsg(&none); status.Code(err) != codes.Unavailable {
		t.Errorf("got %v", err)
	}
	hangUp(t, other)
}

func TestManyStreams(t *testing.T) {
	b, called := chain(t, grpcApp(t, "one"))
	c := grpcClient(t, b.door(shopAddress))
	var all sync.WaitGroup
	for range 300 { // more than one connection's worth
		all.Go(func() {
			stream := talk(t, c)
			big, back := bytes.Repeat([]byte("y"), 200_000), []byte(nil)
			if err := stream.SendMsg(&big); err != nil {
				t.Error(err)
			}
			if err := stream.RecvMsg(&back); err != nil || !bytes.Equal(big, back) {
				t.Errorf("%d bytes, %v", len(back), err)
			}
			hangUp(t, stream)
		})
	}
	all.Wait()
	eventually(t, "no request is in flight", func() bool { return b.Active() == 0 && called.Active() == 0 })
}

func TestDeadlinesAndCancellation(t *testing.T) {
	b, called := chain(t, grpcApp(t, "one"))
	c := grpcClient(t, b.door(shopAddress))
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

func TestInbound(t *testing.T) {
	pod := app(t, func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, r.Header.Get("Sluice-Intended")) })
	b := newBench(t, true, pod.Addr(), func(o *engine.Options) { o.Revision = "v1" })
	closed := listen(t, pod.Addr().String()+":0")
	closed.Close()
	nobody := netip.MustParseAddrPort(closed.Addr().String())
	s := service("shop", shopAddress, ir.HTTP2, ir.Split{}, revisions{"v1": {pod}})
	s.Policy.RateLimit = &ir.RateLimit{Requests: 3, Per: time.Hour}
	b.apply(s)
	c, dead := client(t, b.door(pod)), client(t, b.door(nobody))
	ask := func(c *http.Client, intended string) (int, string, string) {
		r, _ := http.NewRequest("GET", "http://shop/", nil)
		if intended != "" {
			r.Header.Set("Sluice-Intended", intended)
		}
		response, err := c.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		body, _ := io.ReadAll(response.Body)
		return response.StatusCode, response.Header.Get("Sluice-Unprocessed"), string(body)
	}
	if code, _, body := ask(c, "demo/shop;v1"); code != 200 || body != "" {
		t.Errorf("for us: %d %q", code, body)
	}
	if code, why, _ := ask(c, "demo/shop;v2"); code != 421 || why != "revision" {
		t.Errorf("for another: %d %q", code, why)
	}
	if code, why, _ := ask(c, ""); code != 200 || why != "" {
		t.Errorf("from outside the mesh: %d %q", code, why)
	}
	if code, why, _ := ask(dead, "demo/shop;v1"); code != 503 || why != "unreachable" {
		t.Errorf("nobody there: %d %q", code, why)
	}
	if code, why, _ := ask(dead, ""); code != 503 || why != "" {
		t.Errorf("nobody there, from outside: %d %q", code, why)
	}
	ask(c, "")
	if code, _, _ := ask(c, ""); code != 429 {
		t.Errorf("beyond the rate: %d", code)
	}
	if a, b := b.total("source=mesh"), b.total("source=unknown"); a != 1 || b != 3 {
		t.Errorf("counted %v and %v", a, b)
	}
}

func TestTLS(t *testing.T) {
	server := httptest.NewUnstartedServer(nil)
	server.StartTLS()
	defer server.Close()
	config := server.TLS.Clone()
	config.NextProtos = []string{"h2"}
	pod := app(t, func(w http.ResponseWriter, r *http.Request) { io.Copy(w, r.Body) })
	b := outbound(t, ir.HTTP2, ir.Split{}, revisions{"v1": {pod}})
	l := tls.NewListener(listen(t, "127.0.0.1:0"), config)
	b.doors = append(b.doors, l)
	b.serving.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			b.serving.Go(func() { b.Serve(conn, shopAddress) })
		}
	})
	transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, ForceAttemptHTTP2: true}
	defer transport.CloseIdleConnections()
	c := &http.Client{Transport: transport, Timeout: 20 * time.Second}
	want := strings.Repeat("0123456789", 300_000)
	var all sync.WaitGroup
	for range 5 {
		all.Go(func() {
			r, err := c.Post("https://"+l.Addr().String()+"/", "text/plain", strings.NewReader(want))
			if err != nil {
				t.Error(err)
				return
			}
			body, err := io.ReadAll(r.Body)
			r.Body.Close()
			if string(body) != want {
				t.Errorf("%d bytes came back: %v", len(body), err)
			}
		})
	}
	all.Wait()
}

func TestStraightToWhatTheMeshDoesNotKnow(t *testing.T) {
	pod := app(t, func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "hello") })
	b := outbound(t, ir.TCP, ir.Split{}, revisions{"v1": {pod}})
	if _, body := get(t, client(t, b.door(pod)), "/"); body != "hello" {
		t.Errorf("got %q", body)
	}
	if b.total() > 0 {
		t.Error("counted")
	}
}

func TestCloseEndsEverything(t *testing.T) {
	pod := grpcApp(t, "one")
	b := outbound(t, ir.GRPC, ir.Split{}, revisions{"v1": {pod}})
	stream := talk(t, grpcClient(t, b.door(shopAddress)))
	b.Close()
	if b.Active() != 0 {
		t.Errorf("%d in flight after Close", b.Active())
	}
	var none []byte
	if err := stream.RecvMsg(&none); status.Code(err) != codes.Unavailable {
		t.Errorf("got %v", err)
	}
}
