package h2

import (
	"bytes"
	"io"
	"net"
	"net/netip"
	"testing"
	"testing/synctest"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// TestNobodyWaitsAfterTheEnd: streams that end while they wait for the connection's window are not kept. A caller
// that never grants it could fill our memory with them.
func TestNobodyWaitsAfterTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPipes(t, func(f *http2.Framer, _ net.Conn) {
			f.WriteSettings()
			for {
				frame, err := f.ReadFrame()
				if err != nil {
					return
				}
				if h, ok := frame.(*http2.HeadersFrame); ok {
					f.WriteHeaders(http2.HeadersFrameParam{StreamID: h.StreamID, EndHeaders: true, BlockFragment: []byte{0x88}})
					for range 5 { // beyond the window of a connection
						f.WriteData(h.StreamID, false, make([]byte, 16<<10))
					}
				}
			}
		})
		ours, theirs := net.Pipe()
		go p.Serve(ours, netip.MustParseAddrPort("10.0.0.1:80"))
		go io.Copy(io.Discard, theirs)
		io.WriteString(theirs, preface)
		f := http2.NewFramer(theirs, nil)
		f.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1 << 20})
		var block bytes.Buffer
		enc := hpack.NewEncoder(&block)
		for id := uint32(1); id < 40; id += 2 {
			block.Reset()
			for _, h := range []field{{Name: ":method", Value: "GET"}, {Name: ":scheme", Value: "http"}, {Name: ":path", Value: "/"}, {Name: ":authority", Value: "x"}} {
				enc.WriteField(h)
			}
			f.WriteHeaders(http2.HeadersFrameParam{StreamID: id, EndStream: true, EndHeaders: true, BlockFragment: block.Bytes()})
			synctest.Wait()
			f.WriteRSTStream(id, http2.ErrCodeCancel)
			synctest.Wait()
		}
		d := p.connections()[0]
		d.mu.Lock()
		defer d.mu.Unlock()
		if len(d.blocked) > 0 {
			t.Errorf("%d streams that have ended still wait", len(d.blocked))
		}
	})
}
