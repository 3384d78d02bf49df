package backend

import (
	"bytes"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/sluice-mesh/sluice/e2e/benchproxy/load"
	"github.com/sluice-mesh/sluice/e2e/benchproxy/process"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func freePort(t *testing.T) uint16 {
	t.Helper()
	port, err := process.FreePort(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return port
}

func TestBodies(t *testing.T) {
	if len(Small) != 34 || len(Kilobyte) != 1<<10 || len(Large) != 16<<10 || len(Message) != 39 || Message[4] != 34 {
		t.Errorf("bodies of %d, %d, %d and %d bytes", len(Small), len(Kilobyte), len(Large), len(Message))
	}
}

func newH2(t *testing.T) (*H2, netip.AddrPort) {
	t.Helper()
	port := freePort(t)
	h, err := NewH2(t.Context(), port)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(h.Close)
	return h, netip.AddrPortFrom(Hosts()[9], port)
}

func TestH2(t *testing.T) {
	h, at := newH2(t)
	plain := load.Probe{URL: "http://" + at.String() + SmallPath, HTTP2: true, Want: Small}
	unary := load.Probe{URL: "http://" + at.String() + Method, HTTP2: true, GRPC: true, Post: Message, Want: Message}
	for range 3 {
		for _, probe := range []load.Probe{plain, unary} {
			if err := probe.Run(t.Context()); err != nil {
				t.Error(err)
			}
		}
	}
	if h.Served() != 6 {
		t.Errorf("served %d, want 6", h.Served())
	}
	plain.URL += "/elsewhere"
	if err := plain.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "404") {
		t.Errorf("another path: %v, want 404", err)
	}
}

// More requests than the window of the connection has room for answers: the rest waits for the window.
func TestH2WaitsForTheWindow(t *testing.T) {
	_, at := newH2(t)
	conn, err := net.Dial("tcp", at.String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	const requests = 3000 // of 34 bytes each, beside a window of 65,535
	framer := http2.NewFramer(conn, conn)
	framer.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	if _, err := io.WriteString(conn, http2.ClientPreface); err != nil {
		t.Fatal(err)
	}
	if err := framer.WriteSettings(); err != nil {
		t.Fatal(err)
	}
	head := block(":method", "GET", ":scheme", "http", ":path", SmallPath, ":authority", "x")
	var writing sync.WaitGroup
	writing.Go(func() {
		for i := range requests {
			if err := framer.WriteHeaders(http2.HeadersFrameParam{StreamID: uint32(2*i + 1), BlockFragment: head, EndHeaders: true, EndStream: true}); err != nil {
				t.Error(err)
				return
			}
		}
	})
	answers, taken, opened := 0, 0, false
	for answers < requests {
		frame, err := framer.ReadFrame()
		if err != nil {
			t.Fatal(err)
		}
		data, is := frame.(*http2.DataFrame)
		if !is {
			continue
		}
		if !bytes.Equal(data.Data(), Small) || !data.StreamEnded() {
			t.Fatalf("data %q, ended %v", data.Data(), data.StreamEnded())
		}
		answers++
		if taken += len(data.Data()); taken > 65535 && !opened {
			t.Fatalf("%d bytes came before the window was opened", taken)
		}
		if answers == 65535/len(Small) {
			writing.Wait()
			opened = true
			if err := framer.WriteWindowUpdate(0, 1<<20); err != nil {
				t.Fatal(err)
			}
		}
	}
	writing.Wait()
}

func TestSource(t *testing.T) {
	port := freePort(t)
	s, err := NewSource(t.Context(), port)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	conn, err := net.Dial("tcp", netip.AddrPortFrom(Hosts()[1], port).String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	got := make([]byte, 2*len(Begin()))
	if _, err := io.ReadFull(conn, got); err != nil || !bytes.Equal(got, append(bytes.Clone(Begin()), Begin()...)) {
		t.Errorf("other bytes than the pattern, %v", err)
	}
}

func TestParseStatus(t *testing.T) {
	text := "Active connections: 2 \nserver accepts handled requests\n 16 16 31070 \nReading: 0 Writing: 1 Waiting: 1 \n"
	if got, err := parseStatus(text); err != nil || got != 31070 {
		t.Errorf("got %d, %v", got, err)
	}
	for _, bad := range []string{"", "a\nb\nc", "a\nb\n1 2 x\n"} {
		if _, err := parseStatus(bad); err == nil {
			t.Errorf("parseStatus(%q): no error", bad)
		}
	}
}
