package prometheus_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sluice-mesh/sluice/analysis/prometheus"
)

// authority signs certificates.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pem  []byte
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &authority{cert, key, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})}
}

// sign makes a certificate and its key, in PEM, for a name.
func (a *authority) sign(t *testing.T, name string) (certificate, key []byte) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotAfter: time.Now().Add(time.Hour),
	}
	if name == "" {
		template.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1)}
		template.DNSNames = nil
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, private.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	encoded, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: encoded})
}

// guarded is a server that speaks TLS and says who called last.
type guarded struct {
	*httptest.Server
	certificate atomic.Pointer[tls.Certificate]
	caller      atomic.Pointer[http.Request]
}

// newGuarded runs a server with a certificate for a name (empty: its address), which asks clients for one of
// the authority's when that is not nil.
func newGuarded(t *testing.T, signer *authority, name string, clients *authority) *guarded {
	t.Helper()
	g := &guarded{}
	g.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		g.caller.Store(r)
		_, _ = io.WriteString(w, answer(`{"resultType":"scalar","result":[1,"1"]}`))
	}))
	g.Config.ErrorLog = log.New(io.Discard, "", 0) // handshakes that fail are expected
	g.present(t, signer, name)
	g.TLS = &tls.Config{GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return g.certificate.Load(), nil }} //nolint:gosec // a test
	if clients != nil {
		g.TLS.ClientAuth, g.TLS.ClientCAs = tls.RequireAndVerifyClientCert, x509.NewCertPool()
		g.TLS.ClientCAs.AddCert(clients.cert)
	}
	g.StartTLS()
	g.TLS.Certificates = nil
	t.Cleanup(g.Close)
	return g
}

func (g *guarded) present(t *testing.T, signer *authority, name string) {
	t.Helper()
	certificate, err := tls.X509KeyPair(signer.sign(t, name))
	if err != nil {
		t.Fatal(err)
	}
	g.certificate.Store(&certificate)
}

// reach makes a client and asks it something.
func reach(t *testing.T, g *guarded, connection prometheus.Connection) (*prometheus.Client, error) {
	t.Helper()
	client, err := prometheus.NewClient(prometheus.Options{Address: g.URL, Connection: connection, Timeout: 5 * time.Second})
	if err != nil {
		return nil, err
	}
	t.Cleanup(client.Close)
	_, err = client.Query(t.Context(), "1", time.Time{})
	return client, err
}

func TestConnections(t *testing.T) {
	ours, theirs := newAuthority(t), newAuthority(t)
	plain, named, closed := newGuarded(t, ours, "", nil), newGuarded(t, ours, "prometheus.example", nil), newGuarded(t, ours, "", ours)
	cert, key := ours.sign(t, "operator")
	foreignCert, foreignKey := theirs.sign(t, "operator")
	for name, test := range map[string]struct {
		server     *guarded
		connection prometheus.Connection
		err        string // in it; empty: it works
	}{
		"the system does not know the authority": {plain, prometheus.Connection{}, "certificate"},
		"the authority is given":                 {plain, prometheus.Connection{CA: ours.pem}, ""},
		"another authority":                      {plain, prometheus.Connection{CA: theirs.pem}, "certificate"},
		"whoever it is":                          {plain, prometheus.Connection{InsecureSkipVerify: true}, ""},
		"not the name":                           {named, prometheus.Connection{CA: ours.pem}, "certificate"},
		"the name that was said":                 {named, prometheus.Connection{CA: ours.pem, ServerName: "prometheus.example"}, ""},
		"no client certificate":                  {closed, prometheus.Connection{CA: ours.pem}, "certificate required"},
		"a client certificate":                   {closed, prometheus.Connection{CA: ours.pem, Cert: cert, Key: key}, ""},
		"one of another authority":               {closed, prometheus.Connection{CA: ours.pem, Cert: foreignCert, Key: foreignKey}, "certificate"},
		"a certificate without a key":            {closed, prometheus.Connection{CA: ours.pem, Cert: cert}, "key"},
		"a key of another certificate":           {closed, prometheus.Connection{CA: ours.pem, Cert: cert, Key: foreignKey}, "private key does not match"},
		"an authority that is none":              {plain, prometheus.Connection{CA: []byte("s3cret")}, "CA cert"},
		"a file that is not there":               {plain, prometheus.Connection{CAFile: "/nowhere/ca.pem"}, "/nowhere/ca.pem"},
		"two ways to say who we are":             {plain, prometheus.Connection{BearerToken: "s3cret", BasicAuth: &prometheus.BasicAuth{Username: "me", Password: "s3cret"}}, "at most one"},
		"nobody":                                 {plain, prometheus.Connection{BasicAuth: &prometheus.BasicAuth{Password: "s3cret"}}, "no user name"},
		"a header that is ours":                  {plain, prometheus.Connection{Headers: map[string]string{"Host": "s3cret"}}, `header "Host" is not allowed`},
		"a header that cannot be":                {plain, prometheus.Connection{CA: ours.pem, Headers: map[string]string{"X-Tenant": "s3cret\n"}}, "invalid header field value"},
		"a token that cannot be":                 {plain, prometheus.Connection{CA: ours.pem, BearerToken: "s3cret\n"}, "invalid header field value"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := reach(t, test.server, test.connection)
			switch {
			case test.err == "" && err != nil:
				t.Error(err)
			case test.err != "" && (err == nil || !strings.Contains(err.Error(), test.err)):
				t.Errorf("got %v, want %s", err, test.err)
			case err != nil && (strings.Contains(err.Error(), "s3cret") || strings.Contains(err.Error(), "127.0.0.1:") || strings.Contains(err.Error(), "https://")):
				t.Errorf("tells too much: %v", err)
			}
		})
	}
}

// What a connection consists of may be renewed under way.
func TestFilesAreReadAnew(t *testing.T) {
	first, second := newAuthority(t), newAuthority(t)
	g := newGuarded(t, first, "", first)
	dir := t.TempDir()
	write := func(name string, content []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	cert, key := first.sign(t, "one")
	connection := prometheus.Connection{
		CAFile: write("ca", first.pem), CertFile: write("cert", cert), KeyFile: write("key", key),
		BearerTokenFile: write("token", []byte("t0ken\n")), Headers: map[string]string{"X-Scope-OrgID": "shop"},
	}
	client, err := reach(t, g, connection)
	if err != nil {
		t.Fatal(err)
	}
	told := func() [3]string {
		r := g.caller.Load()
		return [3]string{r.TLS.PeerCertificates[0].Subject.CommonName, r.Header.Get("Authorization"), r.Header.Get("X-Scope-OrgID")}
	}
	if got, want := told(), [3]string{"one", "Bearer t0ken", "shop"}; got != want {
		t.Errorf("told %v, want %v", got, want)
	}
	cert, key = first.sign(t, "two")
	write("cert", cert)
	write("key", key)
	write("token", []byte("t1ken"))
	if _, err := client.Query(t.Context(), "1", time.Time{}); err != nil {
		t.Fatal(err)
	}
	if got, want := told(), [3]string{"two", "Bearer t1ken", "shop"}; got != want {
		t.Errorf("told %v, want %v", got, want)
	}
	g.present(t, second, "")
	g.CloseClientConnections()
	if _, err := client.Query(t.Context(), "1", time.Time{}); err == nil {
		t.Error("trusts an authority that it does not know")
	}
	write("ca", append(first.pem, second.pem...))
	if _, err := client.Query(t.Context(), "1", time.Time{}); err != nil {
		t.Error(err)
	}
	if err := os.Remove(filepath.Join(dir, "token")); err != nil {
		t.Fatal(err)
	}
	if _, err := client.Query(t.Context(), "1", time.Time{}); err == nil || strings.Contains(err.Error(), "t1ken") {
		t.Errorf("without its token: %v", err)
	}
}

func TestBasicAuthentication(t *testing.T) {
	ours := newAuthority(t)
	g := newGuarded(t, ours, "", nil)
	file := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(file, []byte("from a file\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for want, auth := range map[string]prometheus.BasicAuth{
		"s3cret":      {Username: "me", Password: "s3cret"},
		"from a file": {Username: "me", PasswordFile: file},
	} {
		if _, err := reach(t, g, prometheus.Connection{CA: ours.pem, BasicAuth: &auth}); err != nil {
			t.Fatal(err)
		}
		if user, password, _ := g.caller.Load().BasicAuth(); user != "me" || password != want {
			t.Errorf("told %s and %s, want %s", user, password, want)
		}
	}
}
