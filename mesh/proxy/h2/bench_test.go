package h2_test

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/sluice-mesh/sluice/mesh/ir"
)

// BenchmarkUnary carries exchanges like gRPC's unary calls between peers that do next to nothing, so that a
// profile shows the engine.
func BenchmarkUnary(b *testing.B) {
	for _, c := range []struct{ conns, streams int }{{1, 1}, {1, 64}, {64, 1}, {16, 8}} {
		b.Run(fmt.Sprintf("conns=%d/streams=%d", c.conns, c.streams), func(b *testing.B) {
			bench := outbound(b, ir.GRPC, ir.Split{}, revisions{"v1": {benchApp(b)}})
			door := bench.Door(shopAddress)
			b.ReportAllocs()
			before := cpuTime()
			var all sync.WaitGroup
			for range c.conns {
				conn := dialDoor(b, door)
				all.Go(func() { unary(b, conn, b.N/c.conns+1, c.streams) })
			}
			all.Wait()
			b.ReportMetric(float64(cpuTime()-before)/float64(b.N), "cpu-ns/op")
		})
	}
}

func cpuTime() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// unary makes calls on a connection, so many at a time.
func unary(b *testing.B, conn net.Conn, calls, together int) {
	conn.SetDeadline(time.Time{})
	io.WriteString(conn, http2.ClientPreface)
	http2.NewFramer(conn, nil).WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1 << 30})
	http2.NewFramer(conn, nil).WriteWindowUpdate(0, 1<<30)
	in := bufio.NewReaderSize(conn, 64<<10)
	var out, block bytes.Buffer
	framer := http2.NewFramer(&out, nil)
	enc := hpack.NewEncoder(&block)
	id := uint32(1)
	send := func() {
		block.Reset()
		for _, f := range [...]hpack.HeaderField{
			{Name: ":method", Value: "POST"}, {Name: ":scheme", Value: "http"}, {Name: ":path", Value: "/demo.Shop/Get"},
			{Name: ":authority", Value: "shop.demo:80"}, {Name: "content-type", Value: "application/grpc"},
			{Name: "user-agent", Value: "grpc-go/1.85.0"}, {Name: "te", Value: "trailers"},
			{Name: "grpc-timeout", Value: "9999" + string(rune('0'+id/2%10)) + "00u"},
		} {
			enc.WriteField(f)
		}
		framer.WriteHeaders(http2.HeadersFrameParam{StreamID: id, EndHeaders: true, BlockFragment: block.Bytes()})
		framer.WriteData(id, true, make([]byte, 40))
		id += 2
	}
	sent, received := 0, 0
	for received < calls {
		for sent < calls && sent-received < together {
			send()
			sent++
		}
		if out.Len() > 0 {
			conn.Write(out.Bytes())
			out.Reset()
		}
		for {
			if readHead(b, in) {
				received++
			}
			if in.Buffered() == 0 {
				break
			}
		}
	}
}

// readHead skips a frame and reports whether it ended a stream.
func readHead(b testing.TB, in *bufio.Reader) bool {
	head, err := in.Peek(9)
	if err != nil {
		b.Error(err)
		return true
	}
	size := int(head[0])<<16 | int(head[1])<<8 | int(head[2])
	end := head[3] == 1 && head[4]&1 != 0
	in.Discard(9 + size)
	return end
}

// benchApp answers each request as soon as it has ended.
func benchApp(b testing.TB) netip.AddrPort {
	l := listen(b, podHost()+":0")
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				in := bufio.NewReaderSize(conn, 64<<10)
				in.Discard(len(http2.ClientPreface))
				var out, block bytes.Buffer
				framer := http2.NewFramer(&out, nil)
				framer.WriteSettings()
				framer.WriteWindowUpdate(0, 1<<30)
				enc := hpack.NewEncoder(&block)
				head := hpack.HeaderField{Name: "content-type", Value: "application/grpc"}
				for {
					frame, err := in.Peek(9)
					if err != nil {
						return
					}
					size := int(frame[0])<<16 | int(frame[1])<<8 | int(frame[2])
					id := binary.BigEndian.Uint32(frame[5:])
					if frame[3] == 0 && frame[4]&1 != 0 {
						block.Reset()
						enc.WriteField(hpack.HeaderField{Name: ":status", Value: "200"})
						enc.WriteField(head)
						framer.WriteHeaders(http2.HeadersFrameParam{StreamID: id, EndHeaders: true, BlockFragment: block.Bytes()})
						framer.WriteData(id, false, make([]byte, 40))
						block.Reset()
						enc.WriteField(hpack.HeaderField{Name: "grpc-status", Value: "0"})
						enc.WriteField(hpack.HeaderField{Name: "grpc-message", Value: ""})
						framer.WriteHeaders(http2.HeadersFrameParam{StreamID: id, EndHeaders: true, EndStream: true, BlockFragment: block.Bytes()})
					}
					in.Discard(9 + size)
					if in.Buffered() == 0 {
						conn.Write(out.Bytes())
						out.Reset()
					}
				}
			}()
		}
	}()
	return netip.MustParseAddrPort(l.Addr().String())
}
