package h2_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strconv"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/sluice-mesh/sluice/mesh/ir"
)

// plain is a codec of messages that are bytes.
type plain struct{}

var _ encoding.CodecV2 = plain{}

func (plain) Name() string { return "plain" }

func (plain) Marshal(v any) (mem.BufferSlice, error) {
	return mem.BufferSlice{mem.SliceBuffer(*v.(*[]byte))}, nil
}

func (plain) Unmarshal(data mem.BufferSlice, v any) error {
	*v.(*[]byte) = data.Materialize()
	return nil
}

// grpcApp serves one method of all kinds, by what the call's metadata ask for: see answer.
func grpcApp(t testing.TB, name string) netip.AddrPort {
	t.Helper()
	s := grpc.NewServer(grpc.ForceServerCodecV2(plain{}), grpc.MaxRecvMsgSize(8<<20),
		grpc.UnknownServiceHandler(func(_ any, stream grpc.ServerStream) error { return answer(name, stream) }))
	l := listen(t, podHost()+":0")
	done := make(chan struct{})
	go func() { defer close(done); _ = s.Serve(l) }()
	t.Cleanup(func() { s.Stop(); <-done })
	return netip.MustParseAddrPort(l.Addr().String())
}

// answer sends every message back as it comes ("echo"), or first takes all and then says how many bytes those
// were ("sum"), or sends as many copies of the first as are asked for ("copies"), or waits for the end of the
// call ("wait"). The status is the one that is asked for.
func answer(name string, stream grpc.ServerStream) error {
	md, _ := metadata.FromIncomingContext(stream.Context())
	first := func(key string) string {
		if values := md.Get(key); len(values) > 0 {
			return values[0]
		}
		return ""
	}
	header := metadata.Pairs("pod", name)
	if raw := first("raw-bin"); raw != "" {
		header.Append("raw-bin", raw)
	}
	stream.SetTrailer(metadata.Pairs("done", "yes"))
	if want := first("status"); want != "" {
		number, _ := strconv.Atoi(want)
		return status.Error(codes.Code(number), "as you wish: 100 % of it")
	}
	if err := stream.SendHeader(header); err != nil {
		return err
	}
	sum := 0
	for {
		var message []byte
		err := stream.RecvMsg(&message)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		sum += len(message)
		switch first("do") {
		case "copies":
			copies, _ := strconv.Atoi(first("copies"))
			for range copies {
				if err := stream.SendMsg(&message); err != nil {
					return err
				}
			}
		case "sum":
		case "wait":
			<-stream.Context().Done()
			return stream.Context().Err()
		default:
			if err := stream.SendMsg(&message); err != nil {
				return err
			}
		}
	}
	if first("do") == "sum" {
		message := []byte(strconv.Itoa(sum))
		return stream.SendMsg(&message)
	}
	return nil
}

func grpcClient(t testing.TB, door string) *grpc.ClientConn {
	t.Helper()
	c, err := grpc.NewClient("passthrough:///"+door, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.ForceCodecV2(plain{}), grpc.MaxCallRecvMsgSize(8<<20)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// with makes a context whose call carries these metadata. Its end is only reached when a test fails.
func with(t testing.TB, pairs ...string) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	t.Cleanup(cancel)
	return metadata.AppendToOutgoingContext(ctx, pairs...)
}

// chain is a caller's proxy before a called pod's proxy before an application.
func chain(t testing.TB, pod netip.AddrPort) (caller, called *bench) {
	called = newBench(t, true, pod.Addr(), nil)
	door := netip.MustParseAddrPort(called.Door(pod))
	called.Apply(service("shop", shopAddress, ir.GRPC, ir.Split{}, revisions{"v1": {pod}}))
	return outbound(t, ir.GRPC, ir.Split{}, revisions{"": {door}}), called
}

func TestGRPCOfAllKinds(t *testing.T) {
	pod := grpcApp(t, "one")
	alone := outbound(t, ir.GRPC, ir.Split{}, revisions{"v1": {pod}})
	caller, called := chain(t, pod)
	for name, door := range map[string]string{"one proxy": alone.Door(shopAddress), "both proxies": caller.Door(shopAddress)} {
		t.Run(name, func(t *testing.T) { allKinds(t, grpcClient(t, door)) })
	}
	if got := alone.Total("code=200", "revision=v1"); got != 8 {
		t.Errorf("%v requests counted, want 8", got)
	}
	if a, b := caller.Total("code=200"), called.Total("code=200"); a != 8 || b != 8 {
		t.Errorf("%v and %v requests counted in the chain, want 8", a, b)
	}
}

func allKinds(t *testing.T, c *grpc.ClientConn) {
	for _, size := range []int{0, 10, 100_000, 4 << 20} {
		in, out := bytes.Repeat([]byte("x"), size), []byte(nil)
		var header, trailer metadata.MD
		err := c.Invoke(with(t, "raw-bin", "\x00\x01\xff"), "/test.Service/Echo", &in, &out, grpc.Header(&header), grpc.Trailer(&trailer))
		if err != nil || !bytes.Equal(in, out) {
			t.Fatalf("unary of %d: %d bytes, %v", size, len(out), err)
		}
		if header.Get("raw-bin")[0] != "\x00\x01\xff" || trailer.Get("done")[0] != "yes" {
			t.Errorf("metadata were lost: %v, %v", header, trailer)
		}
	}
	both := &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}

	sum, err := c.NewStream(with(t, "do", "sum"), both, "/test.Service/Sum")
	if err != nil {
		t.Fatal(err)
	}
	message, answer := make([]byte, 50_000), []byte(nil)
	for range 20 {
		if err := sum.SendMsg(&message); err != nil {
			t.Fatal(err)
		}
	}
	sum.CloseSend()
	if err := sum.RecvMsg(&answer); err != nil || string(answer) != "1000000" {
		t.Fatalf("client stream: %q, %v", answer, err)
	}
	if err := sum.RecvMsg(&answer); !errors.Is(err, io.EOF) {
		t.Fatalf("client stream: no end: %v", err)
	}

	copies, err := c.NewStream(with(t, "do", "copies", "copies", "30"), both, "/test.Service/Copies")
	if err != nil {
		t.Fatal(err)
	}
	if err := copies.SendMsg(&message); err != nil {
		t.Fatal(err)
	}
	copies.CloseSend()
	for i := range 30 {
		if err := copies.RecvMsg(&answer); err != nil || len(answer) != len(message) {
			t.Fatalf("server stream, message %d: %v", i, err)
		}
	}
	if err := copies.RecvMsg(&answer); !errors.Is(err, io.EOF) {
		t.Fatalf("server stream: no end: %v", err)
	}

	talk, err := c.NewStream(with(t), both, "/test.Service/Talk")
	if err != nil {
		t.Fatal(err)
	}
	for i := range 50 {
		word := []byte(fmt.Sprint("word ", i))
		if err := talk.SendMsg(&word); err != nil {
			t.Fatal(err)
		}
		if err := talk.RecvMsg(&answer); err != nil || string(answer) != string(word) {
			t.Fatalf("bidi stream: %q, %v", answer, err)
		}
	}
	talk.CloseSend()
	if err := talk.RecvMsg(&answer); !errors.Is(err, io.EOF) {
		t.Fatalf("bidi stream: no end: %v", err)
	}

	var all sync.WaitGroup
	err = c.Invoke(with(t, "status", "5"), "/test.Service/Status", &message, &answer)
	if s := status.Convert(err); s.Code() != codes.NotFound || s.Message() != "as you wish: 100 % of it" {
		t.Errorf("status: %v", err)
	}
	all.Wait()
}
