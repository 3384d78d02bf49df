package client_test

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"github.com/sluice-mesh/sluice/mesh/ir"
	"github.com/sluice-mesh/sluice/mesh/xds/client"
)

// The services behind which the pod stands arrive whole, and then as they change.
func TestFollowsTheControlPlane(t *testing.T) {
	control := serve(t, "127.0.0.1:0", of(echo(10, 1), another("other", "10.96.0.11")))
	applied := newConsumer()
	c, _ := run(t, client.Options{Address: control.address, Consumer: applied})
	applied.expect(t, of(echo(10, 1)))
	control.live(t, 1)
	if status := c.Status(); !status.Connected || !status.Configured || status.Services != 1 || status.Names != 2 {
		t.Errorf("status: %+v", status)
	}
	control.publish(t, echo(20, 2))
	applied.expect(t, of(echo(20, 2)))
	control.publish(t)
	applied.expect(t, ir.Mesh{})
	settings := ir.Mesh{Settings: ir.Settings{AccessLog: ir.AccessLog{Errors: true}}}
	if err := control.Publish(settings); err != nil {
		t.Fatal(err)
	}
	applied.expect(t, settings)
}

// An empty mesh is a configuration too.
func TestEmptyMeshIsConfigured(t *testing.T) {
	control := serve(t, "127.0.0.1:0", ir.Mesh{})
	applied := newConsumer()
	run(t, client.Options{Address: control.address, Consumer: applied})
	applied.expect(t, ir.Mesh{})
}

// The server goes and comes back: what is in force stays, the client comes back by itself, and it is
// told, and applies, only what has changed.
func TestServerRestarts(t *testing.T) {
	control := serve(t, "127.0.0.1:0", of(echo(10, 1)))
	applied := newConsumer()
	c, _ := run(t, client.Options{Address: control.address, Consumer: applied})
	applied.expect(t, of(echo(10, 1)))
	resolve(t, c, echoAddress)
	control.stop()
	again := serve(t, control.address, of(echo(10, 1)))
	again.live(t, 1)
	if pushes := again.sent(t); pushes != 0 {
		t.Errorf("%v answers sent again to a client that has it all", pushes)
	}
	applied.nothing(t)
	again.stop()
	last := serve(t, control.address, of(echo(30, 2)))
	applied.expect(t, of(echo(30, 2)))
	last.live(t, 2)
}

// A replica that lags behind does not take a split back. The rest of what it says counts.
func TestOlderEpochIsRefused(t *testing.T) {
	control := serve(t, "127.0.0.1:0", of(echo(50, 5)))
	applied := newConsumer()
	applied.verdict = func(mesh ir.Mesh) error {
		if split := mesh.Services[0].Split; split.Owner == "u1" && split.Epoch < 5 {
			t.Errorf("taken back to %+v", split)
		}
		return nil
	}
	path := filepath.Join(t.TempDir(), "config")
	_, stop := run(t, client.Options{Address: control.address, Consumer: applied, Store: client.NewStore(path)})
	applied.expect(t, of(echo(50, 5)))
	control.stop()

	behind := echo(10, 4)
	behind.Subsets[0].Endpoints[0].Address = netip.MustParseAddr("10.0.0.9")
	wanted := behind
	wanted.Split = echo(50, 5).Split
	lagging := serve(t, control.address, of(behind))
	applied.expect(t, of(wanted))
	// It has something newer than that replica asks for: in force there as well, and no rejection.
	lagging.live(t, 4)
	lagging.stop()

	// It is what a restarted proxy begins with, too.
	stop()
	restarted := newConsumer()
	run(t, client.Options{Address: control.address, Consumer: restarted, Store: client.NewStore(path)})
	restarted.expect(t, of(wanted))

	// Another owner's first epoch is not older: it is another release.
	fresh := echo(5, 1)
	fresh.Split.Owner = "u2"
	serve(t, control.address, of(fresh))
	restarted.expect(t, of(fresh))
}

func TestTLS(t *testing.T) {
	certified := httptest.NewTLSServer(nil) // for its certificate
	certified.Close()
	authority := x509.NewCertPool()
	authority.AddCert(certified.Certificate())
	control, address := scripted(t, grpc.Creds(credentials.NewTLS(&tls.Config{Certificates: certified.TLS.Certificates})))
	applied := newConsumer()
	run(t, client.Options{Address: address, Consumer: applied, TLS: &tls.Config{RootCAs: authority, ServerName: "example.com"}})
	control.accept(t, first(echo(10, 1)))
	applied.expect(t, of(echo(10, 1)))

	stranger, _ := run(t, client.Options{Address: address, Consumer: newConsumer(), TLS: &tls.Config{RootCAs: x509.NewCertPool()}})
	stranger.Resolve(t.Context(), self)
	if stranger.Status().Connected {
		t.Error("connected to a server that nobody vouches for")
	}
}

func TestStoreOutlivesRestarts(t *testing.T) {
	path := filepath.Join(t.TempDir(), "config")
	store := client.NewStore(path)
	other := another("other", "10.96.0.11")
	control := serve(t, "127.0.0.1:0", of(echo(10, 1), other))
	applied := newConsumer()
	c, stop := run(t, client.Options{Address: control.address, Consumer: applied, Store: store})
	applied.expect(t, of(echo(10, 1)))
	resolve(t, c, "10.96.0.11")
	applied.expect(t, of(echo(10, 1), other))
	stop()
	control.stop()

	// Without a control plane: the stored mesh is in force at once, and what it has is not asked for again.
	applied = newConsumer()
	c, stop = run(t, client.Options{Address: control.address, Consumer: applied, Store: store})
	applied.expect(t, of(echo(10, 1), other))
	until(t, c, func(status client.Status) bool { return status.Configured })
	resolve(t, c, "10.96.0.11")
	if status := c.Status(); status.Connected || status.Idle != 0 {
		t.Errorf("status: %+v", status)
	}
	// With one that has the same: nothing more. It goes on with what was called before.
	again := serve(t, control.address, of(echo(10, 1), other))
	again.live(t, 1)
	if pushes := again.sent(t); pushes != 0 {
		t.Errorf("%v answers sent to a client that has it all", pushes)
	}
	applied.nothing(t)
	again.publish(t, echo(10, 1))
	applied.expect(t, of(echo(10, 1)))
	stop()
	if left, err := filepath.Glob(path + "*"); err != nil || len(left) != 1 {
		t.Errorf("files left: %v, %v", left, err)
	}
}

func TestUnusableStoreIsLeftBehind(t *testing.T) {
	control := serve(t, "127.0.0.1:0", of(echo(10, 1)))
	path := filepath.Join(t.TempDir(), "config")
	_, stop := run(t, client.Options{Address: control.address, Consumer: newConsumer(), Store: client.NewStore(path)})
	good := waitFile(t, path)
	stop()
	torn := good[:len(good)-7]
	flipped := slices.Clone(good)
	flipped[len(flipped)-3] ^= 0x20
	cases := map[string][]byte{
		"empty":   {},
		"garbage": []byte("\x00\x01\x02 nothing of ours"),
		"newer":   []byte(strings.Replace(string(good), "sluice-config/2", "sluice-config/3", 1)),
		"torn":    torn,
		"flipped": flipped,
		"header":  []byte("sluice-config/2"),
	}
	for name, content := range cases {
		t.Run(name, func(t *testing.T) {
			if err := os.WriteFile(path, content, 0o600); err != nil {
				t.Fatal(err)
			}
			before, applied := control.sent(t), newConsumer()
			_, stop := run(t, client.Options{Address: control.address, Consumer: applied, Store: client.NewStore(path)})
			defer stop()
			applied.expect(t, of(echo(10, 1)))
			if control.sent(t) == before {
				t.Error("the stored configuration was used")
			}
		})
	}
	// One whose content the consumer refuses is left behind as well.
	if err := os.WriteFile(path, good, 0o600); err != nil {
		t.Fatal(err)
	}
	refused, applied := false, newConsumer()
	applied.verdict = func(ir.Mesh) error {
		if !refused {
			refused = true
			return errors.New("not this")
		}
		return nil
	}
	run(t, client.Options{Address: control.address, Consumer: applied, Store: client.NewStore(path)})
	applied.expect(t, of(echo(10, 1)))
}

func waitFile(t *testing.T, path string) []byte {
	t.Helper()
	deadline := time.After(patience)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		if content, err := os.ReadFile(path); err == nil {
			return content
		}
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatal("nothing stored")
		}
	}
}

func TestOptions(t *testing.T) {
	for name, options := range map[string]client.Options{
		"no address":  {Node: client.Node{ID: "x"}, Consumer: newConsumer()},
		"no id":       {Address: "127.0.0.1:1", Consumer: newConsumer()},
		"no consumer": {Address: "127.0.0.1:1", Node: client.Node{ID: "x"}},
	} {
		if _, err := client.New(options); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
