package client_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/sluice-mesh/sluice/mesh/ir"
	"github.com/sluice-mesh/sluice/mesh/xds/client"
	"github.com/sluice-mesh/sluice/mesh/xds/part"
)

// Nothing is in force before both the pod's own services and the settings are there.
func TestNothingIsAppliedBeforeAllIsThere(t *testing.T) {
	control, address := scripted(t)
	applied := newConsumer()
	c, _ := run(t, client.Options{Address: address, Consumer: applied})
	service := echo(10, 1)
	control.accept(t, answer("1", map[string]*ir.Service{"at/" + echoPod: &service}))
	applied.nothing(t)
	if c.Status().Configured {
		t.Error("configured by a part")
	}
	control.accept(t, answer("2", map[string]*ir.Service{"settings": nil}))
	applied.expect(t, of(echo(10, 1)))
}

// Settings that cannot be used do not keep the pod's own services from being in force.
func TestBeginsWithoutSettingsThatAreRefused(t *testing.T) {
	control, address := scripted(t)
	applied := newConsumer()
	run(t, client.Options{Address: address, Consumer: applied})
	service := echo(10, 1)
	control.accept(t, answer("1", map[string]*ir.Service{"at/" + echoPod: &service}))
	applied.nothing(t)
	reply := control.exchange(t, &discoveryv3.DeltaDiscoveryResponse{
		TypeUrl: part.Type, Nonce: "2", Resources: []*discoveryv3.Resource{resource(part.Settings, "v", []byte("[]"))},
	})
	if reply.GetErrorDetail() == nil {
		t.Error("nonsense is accepted")
	}
	applied.expect(t, of(service))
}

// Whatever nonsense the control plane talks, it is rejected with a reason and what is in force stays.
func TestNonsenseIsRejected(t *testing.T) {
	control, applied, c := begun(t)

	at := "at/" + echoPod
	one := func(name string, body string) []*discoveryv3.Resource {
		return []*discoveryv3.Resource{resource(name, "v", []byte(body))}
	}
	foreign := one(at, "{}")
	foreign[0].Resource.TypeUrl = "type.googleapis.com/something.Else"
	cases := map[string]struct {
		answer *discoveryv3.DeltaDiscoveryResponse
		reason string
	}{
		"no JSON":              {&discoveryv3.DeltaDiscoveryResponse{Resources: one(at, "\xff\xfe")}, "decode part"},
		"no body":              {&discoveryv3.DeltaDiscoveryResponse{Resources: []*discoveryv3.Resource{{Name: at}}}, `it is a ""`},
		"another kind of body": {&discoveryv3.DeltaDiscoveryResponse{Resources: foreign}, "something.Else"},
		"another type":         {&discoveryv3.DeltaDiscoveryResponse{TypeUrl: "something.Else", Resources: one(at, "{}")}, "not asked for"},
		"a broken service":     {&discoveryv3.DeltaDiscoveryResponse{Resources: one(at, `{"services":[{"Namespace":"a","Name":"b"}]}`)}, "service a/b: has no port"},
		"good and bad":         {&discoveryv3.DeltaDiscoveryResponse{Resources: append(one(at, "{}"), one("settings", "[]")...)}, "decode part"},
	}
	count := uint64(0)
	for name, test := range cases {
		test.answer.Nonce = name
		if test.answer.TypeUrl == "" {
			test.answer.TypeUrl = part.Type
		}
		reply := control.exchange(t, test.answer)
		if !strings.Contains(reply.GetErrorDetail().GetMessage(), test.reason) {
			t.Errorf("%s: reply %v, want a rejection with %q", name, reply, test.reason)
		}
		count++
		if status := c.Status(); !strings.Contains(status.Rejected, test.reason) || status.Rejections != count {
			t.Errorf("%s: status %+v", name, status)
		}
	}
	applied.nothing(t)
	// Names that were not asked for, whatever is said of them, are passed over.
	control.accept(t, &discoveryv3.DeltaDiscoveryResponse{
		TypeUrl: part.Type, Nonce: "uncalled",
		Resources: one("to/10.0.0.9", "nonsense"), RemovedResources: []string{"to/10.0.0.8", "", "\U0001f4a5"},
	})
	applied.nothing(t)
	// And it goes on from where it was.
	next := echo(20, 2)
	control.accept(t, answer("good", map[string]*ir.Service{at: &next}))
	applied.expect(t, of(next))
	if status := c.Status(); status.Rejected != "" || status.Rejections != count {
		t.Errorf("status: %+v", status)
	}
}

// What the consumer refuses is rejected with its reason, leaves no trace in what comes next, and keeps nobody
// waiting once it is refused alone.
func TestRefusedByTheConsumer(t *testing.T) {
	control, address := scripted(t)
	applied := newConsumer()
	applied.verdict = func(mesh ir.Mesh) error {
		for _, service := range mesh.Services {
			if service.Name == "heavy" {
				return errors.New("no memory for it")
			}
		}
		return nil
	}
	c, _ := run(t, client.Options{Address: address, Consumer: applied})
	control.accept(t, first(echo(10, 1)))
	applied.expect(t, of(echo(10, 1)))
	until(t, c, connected)
	back := make(chan struct{})
	go func() {
		defer close(back)
		resolve(t, c, "10.96.0.11")
	}()
	control.ask(t, "to/10.96.0.11")
	heavy, moved := another("heavy", "10.96.0.11"), echo(10, 1)
	moved.Subsets[0].Endpoints[0].Draining = true
	reply := control.exchange(t, answer("1", map[string]*ir.Service{"to/10.96.0.11": &heavy, "at/" + echoPod: &moved}))
	if reply.GetErrorDetail().GetMessage() != "no memory for it" {
		t.Errorf("reply: %v", reply)
	}
	// The control plane sends them apart.
	control.accept(t, answer("2", map[string]*ir.Service{"at/" + echoPod: &moved}))
	applied.expect(t, of(moved))
	if reply := control.exchange(t, answer("3", map[string]*ir.Service{"to/10.96.0.11": &heavy})); reply.GetErrorDetail() == nil {
		t.Error("accepted")
	}
	<-back
	control.accept(t, answer("4", map[string]*ir.Service{"at/" + echoPod: nil}))
	applied.expect(t, ir.Mesh{})
}

// A control plane that ends streams, with or without a word, or that knows nothing of parts, is left, and what
// is in force stays.
func TestLostStreams(t *testing.T) {
	control, applied, c := begun(t)
	for _, reason := range []error{nil, status.Error(codes.Unavailable, "going %"), status.Error(codes.Internal, strings.Repeat("ü", 5000))} {
		control.hangUp <- reason
		if request := control.ask(t, "settings"); len(request.GetInitialResourceVersions()) != 2 {
			t.Errorf("after %v: %v", reason, request)
		}
	}
	// One older than parts says of every name that it does not exist.
	control.answers <- &discoveryv3.DeltaDiscoveryResponse{TypeUrl: part.Type, Nonce: "old", RemovedResources: []string{"settings", "at/" + echoPod}}
	control.ask(t, "settings")
	if status := c.Status(); !strings.Contains(status.Rejected, "older than this proxy") {
		t.Errorf("status: %+v", status)
	}
	applied.nothing(t)
	next := echo(20, 2)
	control.accept(t, answer("new", map[string]*ir.Service{"at/" + echoPod: &next}))
	applied.expect(t, of(next))
}

// h2c serves HTTP/2 without TLS, and counts the streams.
func h2c(t *testing.T, handle http.HandlerFunc) (address string, streams *atomic.Int32) {
	t.Helper()
	streams = &atomic.Int32{}
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		streams.Add(1)
		handle(w, r)
	}))
	s.Config.Protocols = &http.Protocols{}
	s.Config.Protocols.SetUnencryptedHTTP2(true)
	s.Start()
	t.Cleanup(func() {
		s.CloseClientConnections()
		s.Close()
	})
	return s.Listener.Addr().String(), streams
}

// frame is a message as gRPC frames it.
func frame(message string) string {
	n := len(message)
	return string([]byte{0, byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)}) + message
}

// Whatever comes instead of a stream of answers, the client keeps what it has, and comes back once there is a
// control plane.
func TestNotAControlPlane(t *testing.T) {
	whole, err := proto.Marshal(first(echo(10, 1)))
	if err != nil {
		t.Fatal(err)
	}
	nothing := func(http.ResponseWriter, *http.Request) {}
	says := func(body string, then func(http.ResponseWriter, *http.Request)) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "application/grpc")
			_, _ = io.WriteString(w, body)
			_ = http.NewResponseController(w).Flush()
			then(w, r)
		}
	}
	reset := func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }
	for name, test := range map[string]struct {
		handle  http.HandlerFunc
		counted bool
	}{
		"another web server": {handle: func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "hello") }},
		"not found":          {handle: http.NotFound},
		"a refusal in the head": {handle: func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/grpc")
			w.Header().Set("Grpc-Status", "12")
			w.Header().Set("Grpc-Message", "unknown%20service%zz")
		}},
		"an end":                {handle: says("", nothing)},
		"a reset":               {handle: says("", reset)},
		"half a head":           {handle: says("\x00\x00", nothing)},
		"a reset in a message":  {handle: says(frame(string(whole))[:40], reset)},
		"an end in a message":   {handle: says(frame(string(whole))[:40], nothing)},
		"a huge message":        {handle: says("\x00\xff\xff\xff\xff", nothing)},
		"a compressed message":  {handle: says("\x01"+frame(string(whole))[1:], nothing)},
		"bad protobuf":          {handle: says(frame("\x12\xff\xff\xff"), nothing), counted: true},
		"bad protobuf and more": {handle: says(frame("\xff\xff")+frame(string(whole)), nothing), counted: true},
	} {
		t.Run(name, func(t *testing.T) {
			address, streams := h2c(t, test.handle)
			applied := newConsumer()
			c, _ := run(t, client.Options{Address: address, Consumer: applied})
			until(t, c, func(status client.Status) bool {
				return streams.Load() >= 3 && (!test.counted || status.Rejections > 0)
			})
			applied.nothing(t)
			if c.Status().Configured {
				t.Error("configured by nonsense")
			}
		})
	}
}

// A peer that is no HTTP/2 server at all.
func TestNotEvenHTTP(t *testing.T) {
	for name, greeting := range map[string]string{
		"mute":        "",
		"text":        "220 mail.example.com ESMTP\r\n",
		"a bad frame": "\x00\x00\x06\x04\x00\x00\x00\x00\x00\x00\x00\xff\xff\xff\xff\x7f\xff\xff\x09\xff",
	} {
		t.Run(name, func(t *testing.T) {
			listener, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			accepted := make(chan struct{}, 1000)
			done := make(chan struct{})
			go func() {
				defer close(done)
				for {
					conn, err := listener.Accept()
					if err != nil {
						return
					}
					_, _ = io.WriteString(conn, greeting)
					if greeting != "" {
						_ = conn.Close()
					} else {
						defer func() { _ = conn.Close() }()
					}
					accepted <- struct{}{}
				}
			}()
			c, stop := run(t, client.Options{Address: listener.Addr().String(), Consumer: newConsumer()})
			<-accepted
			if greeting != "" {
				<-accepted
			}
			resolve(t, c, echoAddress) // does not wait
			stop()
			_ = listener.Close()
			<-done
		})
	}
}

// A slow control plane: its answer comes in pieces, each on its own.
func TestSlowControlPlane(t *testing.T) {
	whole, err := proto.Marshal(first(echo(10, 1)))
	if err != nil {
		t.Fatal(err)
	}
	address, _ := h2c(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/grpc")
		for _, b := range []byte(frame(string(whole))) {
			if _, err := w.Write([]byte{b}); err != nil {
				return
			}
			_ = http.NewResponseController(w).Flush()
		}
		_, _ = io.Copy(io.Discard, r.Body)
	})
	applied := newConsumer()
	run(t, client.Options{Address: address, Consumer: applied})
	applied.expect(t, of(echo(10, 1)))
}

// Whatever the file says under a right checksum, reading it does not panic, and what it gives is good to
// start from or refused.
func FuzzStore(f *testing.F) {
	service := echo(10, 1)
	seed, err := proto.Marshal(answer("", map[string]*ir.Service{"settings": nil, "at/" + echoPod: &service, "to/" + echoAddress: &service}))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(seed)
	path := filepath.Join(f.TempDir(), "config")
	f.Fuzz(func(t *testing.T, body []byte) {
		sum := sha256.Sum256(body)
		content := append([]byte("sluice-config/2 "+hex.EncodeToString(sum[:])+"\n"), body...)
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		applied := newConsumer()
		applied.verdict = func(mesh ir.Mesh) error {
			for _, service := range mesh.Services {
				if err := service.Validate(); err != nil {
					t.Errorf("from the store: %v", err)
				}
			}
			return nil
		}
		c, err := client.New(client.Options{
			Address: "127.0.0.1:1", Node: client.Node{ID: "x"}, Self: self, Consumer: applied,
			Store: client.NewStore(path), Logger: quiet(),
		})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		if err := c.Run(ctx); !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
		c.Resolve(ctx, netip.MustParseAddr(echoAddress))
		if _, err := fmt.Fprint(io.Discard, c.Status()); err != nil {
			t.Fatal(err)
		}
	})
}
