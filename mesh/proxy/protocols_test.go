package proxy_test

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sluice-mesh/sluice/mesh/ir"
	"github.com/sluice-mesh/sluice/mesh/proxy"
)

// certificate is one for the names, and its PEM.
func certificate(t *testing.T, names ...string) (tls.Certificate, string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, DNSNames: names,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf},
		string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

// servesBoth runs an application that speaks HTTP/1.1 and HTTP/2 without TLS and tells which was spoken.
func servesBoth(t testing.TB, name string) netip.AddrPort {
	t.Helper()
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "%s %s", name, r.Proto)
	}))
	s.Listener.Close()
	s.Listener = listen(t, podHost()+":0")
	s.Config.Protocols = new(http.Protocols)
	s.Config.Protocols.SetHTTP1(true)
	s.Config.Protocols.SetUnencryptedHTTP2(true)
	s.Start()
	t.Cleanup(s.Close)
	return s.Listener.Addr().(*net.TCPAddr).AddrPort()
}

// speaking returns a client that speaks HTTP/1.1 or HTTP/2 to a destination, over TLS where a configuration
// is given.
func (b *bench) speaking(dst netip.AddrPort, http2 bool, secure *tls.Config) *http.Client {
	client := b.client(dst)
	transport := client.Transport.(*http.Transport)
	transport.TLSClientConfig = secure
	transport.Protocols = new(http.Protocols)
	transport.Protocols.SetHTTP1(!http2)
	transport.Protocols.SetHTTP2(http2 && secure != nil)
	transport.Protocols.SetUnencryptedHTTP2(http2 && secure == nil)
	return client
}

func ask(t *testing.T, client *http.Client, url string) string {
	t.Helper()
	response, err := client.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK {
		t.Fatalf("%s %q, %v", response.Status, body, err)
	}
	return string(body)
}

// A caller's protocol goes through to the application, whatever of HTTP is declared; requests are split one
// by one on one connection.
func TestHTTPOfBothVersions(t *testing.T) {
	for _, declared := range []ir.Protocol{ir.HTTP, ir.HTTP2, ir.GRPC, ir.Undeclared} {
		for _, http2 := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s %v", declared, http2), func(t *testing.T) {
				b := newBench(t, nil, nil, nil)
				b.apply(service("shop", shopAddress, declared, release(1, 50), revisions{"v1": {servesBoth(t, "v1")}, "v2": {servesBoth(t, "v2")}}))
				client := b.speaking(shopAddress, http2, nil)
				proto := map[bool]string{false: " HTTP/1.1", true: " HTTP/2.0"}[http2]
				seen := map[string]int{}
				for range 40 {
					seen[ask(t, client, "http://shop.demo/")]++
				}
				if seen["v1"+proto] < 8 || seen["v2"+proto] < 8 || len(seen) != 2 {
					t.Errorf("answers %v, want both versions with%s", seen, proto)
				}
				eventually(t, "requests to count", func() bool {
					return b.total("revision=v1", "weight=50")+b.total("revision=v2", "weight=50") == 40
				})
			})
		}
	}
}

// A server that speaks first is not kept waiting for its client, and is counted as TCP.
func TestServerSpeaksFirst(t *testing.T) {
	for _, protocol := range []ir.Protocol{ir.TCP, ir.Undeclared} {
		b := newBench(t, nil, nil, nil)
		b.apply(service("shop", shopAddress, protocol, ir.Split{}, revisions{"v1": {echo(t, "220 ready")}}))
		conn := b.dial(shopAddress)
		got := make([]byte, len("220 ready"))
		if _, err := io.ReadFull(conn, got); err != nil || string(got) != "220 ready" {
			t.Errorf("%s: %q, %v", protocol, got, err)
		}
		conn.Close()
		eventually(t, "the connection to count", func() bool { return b.total("protocol=tcp", "code=200") == 1 })
	}
}

// What nobody declared and is not HTTP is carried as it is, in both directions.
func TestUndeclaredThroughBothProxies(t *testing.T) {
	app := echo(t, "")
	called := newBench(t, func(o *proxy.Options) { o.Self, o.Revision = app.Addr(), "v1" }, nil, []netip.AddrPort{app})
	called.apply(service("shop", shopAddress, ir.Undeclared, ir.Split{}, revisions{"v1": {app}}))
	caller := newBench(t, nil, nil, nil)
	caller.apply(service("shop", shopAddress, ir.Undeclared, ir.Split{}, revisions{"v1": {netip.MustParseAddrPort(called.doors[app])}}))
	conn := caller.dial(shopAddress)
	for _, c := range []byte("*1\r\n$4\r\nPING\r\n") {
		conn.Write([]byte{c})
	}
	conn.CloseWrite()
	if got, err := io.ReadAll(conn); err != nil || string(got) != "*1\r\n$4\r\nPING\r\n" {
		t.Errorf("echoed %q, %v", got, err)
	}
	eventually(t, "both ends to count", func() bool {
		return caller.total("protocol=tcp", "code=200") == 1 && called.total("reporter=destination", "protocol=tcp", "code=200") == 1
	})
}

// TLS passes through to the application, drawn by connection.
func TestTLSPassesThrough(t *testing.T) {
	pair, _ := certificate(t, "shop.example")
	app := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "secret") }))
	app.Listener.Close()
	app.Listener = listen(t, podHost()+":0")
	app.TLS = &tls.Config{Certificates: []tls.Certificate{pair}}
	app.StartTLS()
	t.Cleanup(app.Close)
	pool := x509.NewCertPool()
	pool.AddCert(pair.Leaf)
	for _, protocol := range []ir.Protocol{ir.TLS, ir.TCP, ir.HTTP, ir.Undeclared} {
		b := newBench(t, nil, nil, nil)
		b.apply(service("shop", shopAddress, protocol, ir.Split{}, revisions{"v1": {app.Listener.Addr().(*net.TCPAddr).AddrPort()}}))
		client := b.speaking(shopAddress, false, &tls.Config{RootCAs: pool, ServerName: "shop.example"})
		if got := ask(t, client, "https://shop.example/"); got != "secret" {
			t.Errorf("%s: %q", protocol, got)
		}
		client.CloseIdleConnections()
		eventually(t, "the connection to count", func() bool { return b.total("code=200") == 1 })
	}
}

// TLS ends at the proxy for names that its certificate is for, and requests are split one by one; what asks
// for another name passes through.
func TestTLSEndsHere(t *testing.T) {
	pair, _ := certificate(t, "shop.example")
	pool := x509.NewCertPool()
	pool.AddCert(pair.Leaf)
	b := newBench(t, func(o *proxy.Options) {
		config := &tls.Config{Certificates: []tls.Certificate{pair}, NextProtos: []string{"h2", "http/1.1"}}
		o.TLS = func(hello *tls.ClientHelloInfo) *tls.Config {
			if hello.ServerName != "shop.example" {
				return nil
			}
			return config
		}
	}, nil, nil)
	b.apply(service("shop", shopAddress, ir.HTTP, release(1, 50), revisions{"v1": {servesBoth(t, "v1")}, "v2": {servesBoth(t, "v2")}}))
	for http2, proto := range map[bool]string{false: " HTTP/1.1", true: " HTTP/2.0"} {
		client := b.speaking(shopAddress, http2, &tls.Config{RootCAs: pool, ServerName: "shop.example"})
		seen := map[string]int{}
		for range 40 {
			seen[ask(t, client, "https://shop.example/")]++
		}
		if seen["v1"+proto] < 8 || seen["v2"+proto] < 8 {
			t.Errorf("answers %v, want both versions with%s", seen, proto)
		}
	}
	// The application speaks no TLS, so nobody answers another name.
	client := b.speaking(shopAddress, false, &tls.Config{ServerName: "other.example", RootCAs: pool})
	if response, err := client.Get("https://other.example/"); err == nil {
		response.Body.Close()
		t.Error("a name that we have no certificate for was answered")
	}
}

// A policy lets the proxy speak TLS to the endpoints, and holds them to their name.
func TestTLSToTheEndpoints(t *testing.T) {
	pair, authority := certificate(t, "shop.example")
	app := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprintf(w, "%s %s", r.TLS.ServerName, r.Proto) }))
	app.Listener.Close()
	app.Listener = listen(t, podHost()+":0")
	app.TLS = &tls.Config{Certificates: []tls.Certificate{pair}}
	app.EnableHTTP2 = true
	app.StartTLS()
	t.Cleanup(app.Close)
	b := newBench(t, nil, nil, nil)
	s := service("shop", shopAddress, ir.HTTP, ir.Split{}, revisions{"v1": {app.Listener.Addr().(*net.TCPAddr).AddrPort()}})
	s.Policy.TLS = &ir.UpstreamTLS{ServerName: "shop.example", CA: authority}
	b.apply(s)
	if got := ask(t, b.speaking(shopAddress, false, nil), "http://shop.demo/"); got != "shop.example HTTP/1.1" {
		t.Errorf("answer %q", got)
	}
	if got := ask(t, b.speaking(shopAddress, true, nil), "http://shop.demo/"); got != "shop.example HTTP/2.0" {
		t.Errorf("answer %q", got)
	}
	s.Policy.TLS = &ir.UpstreamTLS{ServerName: "other.example", CA: authority}
	b.apply(s)
	eventually(t, "the policy to hold", func() bool {
		status, _ := get(t, b.speaking(shopAddress, false, nil), "/")
		return status == http.StatusServiceUnavailable
	})
}

// An upgraded connection goes on over TLS on both sides, with what each says early, and with half-closes.
func TestUpgradeOverTLS(t *testing.T) {
	pair, authority := certificate(t, "shop.example")
	config := &tls.Config{Certificates: []tls.Certificate{pair}}
	app := raw(t, func(c net.Conn, _ *bufio.Reader) {
		secure := tls.Server(c, config)
		r := bufio.NewReader(secure)
		readHead(r)
		io.WriteString(secure, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\nhello ")
		io.Copy(secure, r)
		secure.CloseWrite()
	})
	b := newBench(t, func(o *proxy.Options) { o.TLS = func(*tls.ClientHelloInfo) *tls.Config { return config } }, nil, nil)
	s := service("shop", shopAddress, ir.HTTP, ir.Split{}, revisions{"v1": {app}})
	s.Policy.TLS = &ir.UpstreamTLS{ServerName: "shop.example", CA: authority}
	b.apply(s)
	pool := x509.NewCertPool()
	pool.AddCert(pair.Leaf)
	conn := tls.Client(b.dial(shopAddress), &tls.Config{RootCAs: pool, ServerName: "shop.example"})
	io.WriteString(conn, "GET / HTTP/1.1\r\nHost: shop.demo\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\nearly ")
	r := bufio.NewReader(conn)
	if head := readHead(r); !strings.HasPrefix(head, "HTTP/1.1 101 ") {
		t.Fatalf("heard %q", head)
	}
	long := strings.Repeat("late ", 100_000)
	io.WriteString(conn, long)
	conn.CloseWrite()
	if got, err := io.ReadAll(r); err != nil || string(got) != "hello early "+long {
		t.Errorf("heard %d bytes, %v", len(got), err)
	}
	eventually(t, "the request to count", func() bool { return b.total("code=101") == 1 })
}

// A relayed connection on which nothing moves ends after the policy's time, one that is used does not.
func TestIdleConnectionsEnd(t *testing.T) {
	b := newBench(t, func(o *proxy.Options) { o.Drain = 100 * time.Millisecond }, nil, nil)
	s := service("shop", shopAddress, ir.TCP, ir.Split{}, revisions{"v1": {echo(t, "")}})
	s.Policy.Timeouts.Idle = time.Second
	b.apply(s)
	conn := b.dial(shopAddress)
	for range 9 { // longer than the time in all
		io.WriteString(conn, "x")
		if _, err := io.ReadFull(conn, make([]byte, 1)); err != nil {
			t.Fatalf("cut while in use: %v", err)
		}
		time.Sleep(200 * time.Millisecond) // in use now and then
	}
	if _, err := conn.Read(make([]byte, 1)); err == nil {
		t.Error("an idle connection was not cut")
	}
}

// An address that the configuration does not know is asked for once it is called.
func TestAddressesAreResolvedOnDemand(t *testing.T) {
	var running atomic.Pointer[bench]
	var asked atomic.Int32
	app := says(t, "v1")
	elsewhere := echo(t, "elsewhere")
	b := newBench(t, func(o *proxy.Options) {
		o.Resolve = func(_ context.Context, address netip.Addr) {
			asked.Add(1)
			if address == shopAddress.Addr() {
				running.Load().apply(service("shop", shopAddress, ir.HTTP, ir.Split{}, revisions{"v1": {app}}))
			}
		}
	}, []netip.AddrPort{shopAddress, elsewhere}, nil)
	running.Store(b)
	b.apply()
	client := b.client(shopAddress)
	for range 3 {
		if status, body := get(t, client, "/"); status != http.StatusOK || body != "v1" {
			t.Fatalf("%d %q", status, body)
		}
	}
	if n := asked.Load(); n != 1 {
		t.Errorf("asked %d times for one address", n)
	}
	conn := b.dial(elsewhere)
	conn.CloseWrite()
	if got, err := io.ReadAll(conn); err != nil || string(got) != "elsewhere" {
		t.Errorf("%q, %v from an address that the mesh does not know", got, err)
	}
}
