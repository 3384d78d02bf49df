package h2

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/sluice-mesh/sluice/mesh/proxy/engine"
	"github.com/sluice-mesh/sluice/mesh/proxy/table"
)

// pipes joins an engine with peers by pipes in memory, so that time can be a fake.
type pipes struct {
	*Server
	endpoint func(*http2.Framer, net.Conn) // serves a connection to the endpoint
}

func newPipes(t *testing.T, endpoint func(*http2.Framer, net.Conn)) *pipes {
	p := &pipes{endpoint: endpoint}
	p.Server = NewOutbound(engine.Options{
		Table: table.Empty, Random: rand.Uint32N, Now: time.Now, Logger: slog.New(slog.DiscardHandler),
		DialAddress: func(context.Context, netip.AddrPort) (net.Conn, error) {
			ours, theirs := net.Pipe()
			go func() {
				defer theirs.Close()
				io.ReadFull(theirs, make([]byte, len(preface)))
				p.endpoint(http2.NewFramer(theirs, theirs), theirs)
			}()
			return ours, nil
		},
	})
	t.Cleanup(p.Close)
	return p
}

// ask opens a connection with one request on it. What comes back goes to each, until it returns false.
func (p *pipes) ask(window uint32, each func(http2.Frame) bool) {
	ours, theirs := net.Pipe()
	go p.Serve(ours, netip.MustParseAddrPort("10.0.0.1:80"))
	framer := http2.NewFramer(theirs, theirs)
	framer.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	go func() {
		var block bytes.Buffer
		enc := hpack.NewEncoder(&block)
		for _, f := range []field{{Name: ":method", Value: "GET"}, {Name: ":scheme", Value: "http"}, {Name: ":path", Value: "/"}, {Name: ":authority", Value: "x"}} {
			enc.WriteField(f)
		}
		io.WriteString(theirs, preface)
		framer.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: window})
		framer.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, EndStream: true, EndHeaders: true, BlockFragment: block.Bytes()})
	}()
	for {
		f, err := framer.ReadFrame()
		if err != nil || !each(f) {
			break
		}
	}
	theirs.Close()
}

// answered returns the status and the text that the request gets, and after how long.
func (p *pipes) answered() (status, text string, after time.Duration) {
	begun := time.Now()
	p.ask(65535, func(f http2.Frame) bool {
		switch f := f.(type) {
		case *http2.MetaHeadersFrame:
			status, after = f.PseudoValue("status"), time.Since(begun)
			return !f.StreamEnded()
		case *http2.DataFrame:
			text += string(f.Data())
			return !f.StreamEnded()
		}
		return true
	})
	return status, text, after
}

// TestSilentEndpointIsAsked has a stream wait for half an hour at an endpoint as strict as gRPC's servers are, which
// end a connection with the third PING that comes within five minutes of the one before and brings them nothing
// new. Then it is dead.
func TestSilentEndpointIsAsked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked, strikes := 0, 0
		begun, last := time.Now(), time.Time{}
		p := newPipes(t, func(f *http2.Framer, _ net.Conn) {
			f.WriteSettings()
			for {
				frame, err := f.ReadFrame()
				if err != nil {
					return
				}
				if ping, ok := frame.(*http2.PingFrame); ok && !ping.IsAck() && time.Since(begun) < 30*time.Minute {
					asked++
					if time.Since(last) < 5*time.Minute {
						strikes++
					}
					last = time.Now()
					f.WritePing(true, ping.Data)
				}
			}
		})
		status, _, after := p.answered()
		synctest.Wait()
		if status != "502" || asked < 5 || strikes > 2 || after < 30*time.Minute || after > 36*time.Minute {
			t.Errorf("%s after %v, %d PINGs and %d of them too early", status, after, asked, strikes)
		}
	})
}

// TestEndpointThatDiesIsNoticed: who comes later does not wait for five minutes. (It tries twice.)
func TestEndpointThatDiesIsNoticed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var dead atomic.Bool
		p := newPipes(t, func(f *http2.Framer, _ net.Conn) {
			f.WriteSettings()
			for {
				frame, err := f.ReadFrame()
				if err != nil {
					return
				}
				if ping, ok := frame.(*http2.PingFrame); ok && !ping.IsAck() && !dead.Load() {
					f.WritePing(true, ping.Data)
				}
			}
		})
		go p.answered()
		time.Sleep(time.Minute)
		dead.Store(true)
		if status, _, after := p.answered(); status != "502" || after > 2*(silentUpstream+aliveTime) {
			t.Errorf("%s after %v", status, after)
		}
		synctest.Wait()
	})
}

func TestEndpointThatDoesNotBegin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPipes(t, func(_ *http2.Framer, c net.Conn) { io.Copy(io.Discard, c) })
		status, text, after := p.answered()
		if status != "503" || !strings.Contains(text, "does not begin HTTP/2") || after != settingsTime {
			t.Errorf("%s %q after %v", status, text, after)
		}
	})
}

func TestIdleLinksAreClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var open time.Duration
		p := newPipes(t, func(f *http2.Framer, _ net.Conn) {
			begun := time.Now()
			f.WriteSettings()
			for {
				frame, err := f.ReadFrame()
				if err != nil {
					open = time.Since(begun)
					return
				}
				if h, ok := frame.(*http2.HeadersFrame); ok {
					f.WriteHeaders(http2.HeadersFrameParam{StreamID: h.StreamID, EndStream: true, EndHeaders: true, BlockFragment: []byte{0x88}})
				}
			}
		})
		if status, _, _ := p.answered(); status != "200" {
			t.Errorf("answered %s", status)
		}
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		if open < idleUpstream || open > idleUpstream+5*time.Second {
			t.Errorf("closed after %v", open)
		}
	})
}

// TestReceiverThatStalls grants no window for a response that is there.
func TestReceiverThatStalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reset := http2.ErrCodeNo
		p := newPipes(t, func(f *http2.Framer, _ net.Conn) {
			f.WriteSettings()
			for {
				frame, err := f.ReadFrame()
				if err != nil {
					return
				}
				switch h := frame.(type) {
				case *http2.HeadersFrame:
					f.WriteHeaders(http2.HeadersFrameParam{StreamID: h.StreamID, EndHeaders: true, BlockFragment: []byte{0x88}})
					f.WriteData(h.StreamID, true, make([]byte, 1000))
				case *http2.RSTStreamFrame:
					reset = h.ErrCode
				}
			}
		})
		begun, got := time.Now(), 0
		p.ask(100, func(f http2.Frame) bool {
			if d, ok := f.(*http2.DataFrame); ok {
				got += len(d.Data())
			}
			_, ok := f.(*http2.RSTStreamFrame)
			return !ok
		})
		synctest.Wait()
		if after := time.Since(begun); after < stallTime || after > stallTime+time.Minute || got != 100 {
			t.Errorf("reset after %v and %d bytes", after, got)
		}
		if reset != http2.ErrCodeNo {
			t.Errorf("the endpoint, which was done, was reset with %v", reset)
		}
		if p.Active() != 0 {
			t.Errorf("%d in flight", p.Active())
		}
	})
}

// TestDeadReceiver takes nothing from its socket: it is given up in the end.
func TestDeadReceiver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPipes(t, nil)
		ours, theirs := net.Pipe()
		begun := time.Now()
		go io.WriteString(theirs, preface)
		p.Serve(ours, netip.MustParseAddrPort("10.0.0.1:80"))
		if after := time.Since(begun); after < writeTime || after > 2*writeTime {
			t.Errorf("given up after %v", after)
		}
		theirs.Close()
	})
}
