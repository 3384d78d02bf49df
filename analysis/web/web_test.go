package web_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/sluice-mesh/sluice/analysis/check"
	"github.com/sluice-mesh/sluice/analysis/prometheus"
	"github.com/sluice-mesh/sluice/analysis/web"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// serve starts a server for a test.
func serve(t *testing.T, handler http.HandlerFunc) *httptest.Server {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return server
}

// client makes a client that may ask the servers of tests.
func client(t *testing.T, options web.Options) *web.Client {
	t.Helper()
	options.Loopback = true
	c, err := web.New(options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func answer(status int, kind, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", kind)
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

func TestAsk(t *testing.T) {
	for name, c := range map[string]struct {
		handler http.HandlerFunc
		want    any
		problem string
	}{
		"JSON":                         {answer(200, "application/json", `{"rate":0.97}`), map[string]any{"rate": .97}, ""},
		"JSON of another name":         {answer(200, "text/plain; charset=utf-8", ` [1] `), []any{1.0}, ""},
		"JSON without a name":          {answer(200, "", `"ok"`), "ok", ""},
		"another 2xx":                  {answer(202, "application/json", `true`), true, ""},
		"a byte order mark":            {answer(200, "application/json", "\xef\xbb\xbf1"), 1.0, ""},
		"numbers beyond float64":       {answer(200, "application/json", `9007199254740993`), int64(9007199254740993), ""},
		"HTML":                         {answer(200, "text/html", `<html>`), nil, "the response (200, text/html) is not JSON"},
		"nothing":                      {answer(204, "", ``), nil, "(204, of no type) is empty"},
		"a document that is cut off":   {answer(200, "application/json", `{"a":`), nil, "is not JSON: it ends too soon"},
		"an error with its reason":     {answer(503, "text/plain", "no\nbackend\x00 there"), nil, "503 Service Unavailable: no backend there"},
		"an error that is long":        {answer(500, "text/plain", strings.Repeat("x", 100_000)), nil, "500 Internal Server Error: " + strings.Repeat("x", 200) + "$"},
		"JSON with an error's status":  {answer(404, "application/json", `{"rate":1}`), nil, `404 Not Found: {"rate":1}`},
		"a status that nobody knows":   {answer(299+300, "text/plain", "odd"), nil, "599 : odd"},
		"not modified":                 {answer(304, "", ""), nil, "304 Not Modified"},
		"a redirect without a target":  {answer(302, "", ""), nil, "302"},
		"a connection that is cut off": {cutOff, nil, "read response: unexpected EOF"},
	} {
		t.Run(name, func(t *testing.T) {
			server := serve(t, c.handler)
			result, err := client(t, web.Options{}).Ask(t.Context(), web.Request{URL: server.URL})
			if c.problem != "" {
				want, whole := strings.CutSuffix(c.problem, "$")
				if err == nil || !strings.Contains(err.Error(), want) || whole && !strings.HasSuffix(err.Error(), want) {
					t.Errorf("got  %v\nwant %s", err, c.problem)
				}
				return
			}
			if err != nil || result.Kind != check.KindJSON || !cmp.Equal(result.JSON, c.want) {
				t.Errorf("%v, %#v, want %#v", err, result.JSON, c.want)
			}
		})
	}
}

func cutOff(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Length", "100")
	_, _ = io.WriteString(w, `{"a":1`)
}

func TestRequestsAreAsTheyWereWritten(t *testing.T) {
	type seen struct{ Method, Path, Host, Body, Type, Accept, Agent, Token, Org string }
	var got seen
	server := serve(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		got = seen{
			r.Method, r.URL.RequestURI(), r.Host, string(body), r.Header.Get("Content-Type"), r.Header.Get("Accept"),
			r.Header.Get("User-Agent"), r.Header.Get("Authorization"), r.Header.Get("X-Scope-OrgID"),
		}
		_, _ = io.WriteString(w, "1")
	})
	host := strings.TrimPrefix(server.URL, "http://")
	for name, c := range map[string]struct {
		connection prometheus.Connection
		request    web.Request
		want       seen
	}{
		"GET": {prometheus.Connection{}, web.Request{URL: "/a?b=c%20d"},
			seen{Method: "GET", Path: "/a?b=c%20d", Host: host, Accept: "application/json", Agent: "sluice"}},
		"POST": {prometheus.Connection{}, web.Request{URL: "/", Method: "POST", Body: `{"a":1}`},
			seen{Method: "POST", Path: "/", Host: host, Body: `{"a":1}`, Type: "application/json", Accept: "application/json", Agent: "sluice"}},
		"PUT with headers": {prometheus.Connection{}, web.Request{URL: "/", Method: "PUT", Body: "a=b", Headers: map[string]string{
			"content-type": "application/x-www-form-urlencoded", "Authorization": "Bearer t0ken", "Host": "shop.example", "accept": "*/*"}},
			seen{Method: "PUT", Path: "/", Host: "shop.example", Body: "a=b", Type: "application/x-www-form-urlencoded", Accept: "*/*", Agent: "sluice", Token: "Bearer t0ken"}},
		"a POST without a body": {prometheus.Connection{}, web.Request{URL: "/", Method: "POST"},
			seen{Method: "POST", Path: "/", Host: host, Accept: "application/json", Agent: "sluice"}},
		"a connection's credentials": {prometheus.Connection{BearerToken: "t0ken", Headers: map[string]string{"X-Scope-OrgID": "team"}}, web.Request{URL: "/"},
			seen{Method: "GET", Path: "/", Host: host, Accept: "application/json", Agent: "sluice", Token: "Bearer t0ken", Org: "team"}},
	} {
		t.Run(name, func(t *testing.T) {
			c.request.URL = server.URL + c.request.URL
			if _, err := client(t, web.Options{Connection: c.connection}).Ask(t.Context(), c.request); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestRequestsThatAreRefused(t *testing.T) {
	var asked atomic.Int32
	server := serve(t, func(http.ResponseWriter, *http.Request) { asked.Add(1) })
	for name, c := range map[string]struct {
		request web.Request
		want    string
	}{
		"no URL":                {web.Request{}, "url: not an http or https URL"},
		"a file":                {web.Request{URL: "file:///etc/passwd"}, "url: not an http or https URL"},
		"no host":               {web.Request{URL: "http:///s3cret"}, "url: not an http or https URL"},
		"a URL that is none":    {web.Request{URL: "http://s3cret\x7f"}, "url: not an http or https URL"},
		"credentials":           {web.Request{URL: "http://user:s3cret@example.com"}, "url: it holds credentials"},
		"another method":        {web.Request{URL: server.URL, Method: "DELETE"}, "method: it is none of GET, POST, PUT"},
		"GET with a body":       {web.Request{URL: server.URL, Body: "s3cret"}, "body: a GET has none"},
		"a header's name":       {web.Request{URL: server.URL, Headers: map[string]string{"a b": "x"}}, `headers: "a b" is not a header's name`},
		"a header's line break": {web.Request{URL: server.URL, Headers: map[string]string{"Authorization": "s3cret\r\nX: y"}}, "headers: the value of Authorization"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := client(t, web.Options{}).Ask(t.Context(), c.request)
			if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "s3cret") {
				t.Errorf("got  %v\nwant %s", err, c.want)
			}
		})
	}
	if asked.Load() > 0 {
		t.Error("the server was asked all the same")
	}
}

func TestErrorsHoldNoSecrets(t *testing.T) {
	echo := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(403)
		fmt.Fprintf(w, "cannot %s %s with %s and %s, %s", r.Method, r.RequestURI, r.Header.Get("Authorization"), r.Header.Get("X-Key"), r.URL.Query().Get("key"))
	})
	c := client(t, web.Options{Connection: prometheus.Connection{BearerToken: "s3cret-bearer"}})
	_, err := c.Ask(t.Context(), web.Request{URL: echo.URL + "/hook/s3cret-path?key=s3cret%20query", Headers: map[string]string{"X-Key": "s3cret-header"}})
	if err == nil || !strings.Contains(err.Error(), "403 Forbidden: cannot GET *** with Bearer *** and ***, ***") {
		t.Errorf("got %v", err)
	}
	for name, address := range map[string]string{
		"refused": "http://127.0.0.1:1/s3cret?key=s3cret", "unknown": "http://s.invalid/s3cret", "not TLS": strings.Replace(echo.URL, "http:", "https:", 1) + "/s3cret",
	} {
		if _, err := c.Ask(t.Context(), web.Request{URL: address}); err == nil || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestTimeAndSizeAreBounded(t *testing.T) {
	slow := serve(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, `{"a":`)
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	})
	c := client(t, web.Options{MaxBytes: 1000})
	began := time.Now()
	if _, err := c.Ask(t.Context(), web.Request{URL: slow.URL, Timeout: 100 * time.Millisecond}); err == nil || !strings.Contains(err.Error(), "no answer within 100ms") {
		t.Errorf("got %v", err)
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("gave up after %v", took)
	}
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(50*time.Millisecond, cancel)
	if _, err := c.Ask(ctx, web.Request{URL: slow.URL}); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want canceled", err)
	}
	large := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		for range 1 << 20 { // until the client has gone
			if _, err := io.WriteString(w, strings.Repeat(" ", 1000)); err != nil {
				return
			}
		}
	})
	if _, err := c.Ask(t.Context(), web.Request{URL: large.URL}); err == nil || !strings.Contains(err.Error(), "the response is larger than 1000 bytes") {
		t.Errorf("got %v", err)
	}
	exact := serve(t, answer(200, "", `"`+strings.Repeat("x", 998)+`"`))
	if _, err := c.Ask(t.Context(), web.Request{URL: exact.URL}); err != nil {
		t.Errorf("1000 bytes: %v", err)
	}
}

func TestRedirects(t *testing.T) {
	var elsewhere atomic.Int32
	other := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		elsewhere.Add(1)
		_, _ = io.WriteString(w, "1")
	})
	server := serve(t, func(w http.ResponseWriter, r *http.Request) {
		switch body, _ := io.ReadAll(r.Body); r.URL.Path {
		case "/here":
			http.Redirect(w, r, "/end", http.StatusTemporaryRedirect)
		case "/end":
			fmt.Fprintf(w, "%q", r.Method+string(body)+r.Header.Get("Authorization"))
		case "/there":
			http.Redirect(w, r, other.URL+"/s3cret", http.StatusFound)
		case "/tls":
			http.Redirect(w, r, "https://"+r.Host, http.StatusFound)
		default:
			http.Redirect(w, r, "/loop", http.StatusFound)
		}
	})
	c := client(t, web.Options{})
	post := web.Request{URL: server.URL + "/here", Method: "POST", Body: "body", Headers: map[string]string{"Authorization": "Bearer t0ken"}}
	if result, err := c.Ask(t.Context(), post); err != nil || result.JSON != "POSTbodyBearer t0ken" {
		t.Errorf("to the same server: %v, %v", result.JSON, err)
	}
	for path, want := range map[string]string{
		"/there": "redirected to another server (" + other.URL + ")", "/tls": "redirected to another server (https://", "/loop": "redirected more than 3 times",
	} {
		_, err := c.Ask(t.Context(), web.Request{URL: server.URL + path, Headers: map[string]string{"Authorization": "Bearer t0ken"}})
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%s: %v, want %s", path, err, want)
		}
	}
	if elsewhere.Load() > 0 {
		t.Error("another server was asked")
	}
}

func TestAddressesThatAreNotAsked(t *testing.T) {
	server := serve(t, answer(200, "", "1"))
	plain, err := web.New(web.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(plain.Close)
	port := server.URL[strings.LastIndex(server.URL, ":"):]
	for address, want := range map[string]string{
		server.URL:                         "addresses of the operator itself are not asked",
		"http://localhost" + port:          "addresses of the operator itself are not asked",
		"http://0.0.0.0" + port:            "addresses of the operator itself are not asked",
		"http://[::ffff:127.0.0.1]" + port: "addresses of the operator itself are not asked",
		"http://169.254.169.254/latest":    "link-local addresses are not asked",
		"http://[::ffff:169.254.169.254]":  "link-local addresses are not asked",
		"http://[fd00:ec2::254]/latest":    "link-local addresses are not asked",
	} {
		if _, err := plain.Ask(t.Context(), web.Request{URL: address, Timeout: 5 * time.Second}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", address, err, want)
		}
	}
	if _, err := client(t, web.Options{}).Ask(t.Context(), web.Request{URL: "http://169.254.169.254"}); err == nil || !strings.Contains(err.Error(), "link-local") {
		t.Errorf("with loopback: %v", err)
	}
}

// issued is a certificate with its key, in PEM, and as crypto/tls has it.
type issued struct {
	cert, key []byte
	pair      tls.Certificate
}

func issue(t *testing.T, name string, by *issued, template x509.Certificate) *issued {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template.SerialNumber, template.Subject = big.NewInt(time.Now().UnixNano()), pkix.Name{CommonName: name}
	template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	parent, signer := &template, any(key)
	if by != nil {
		parent, signer = by.pair.Leaf, by.pair.PrivateKey
	}
	der, err := x509.CreateCertificate(rand.Reader, &template, parent, key.Public(), signer)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	i := &issued{
		cert: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		key:  pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}),
	}
	if i.pair, err = tls.X509KeyPair(i.cert, i.key); err != nil {
		t.Fatal(err)
	}
	return i
}

func TestTLS(t *testing.T) {
	authority := issue(t, "authority", nil, x509.Certificate{IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign})
	stranger := issue(t, "stranger", nil, x509.Certificate{IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign})
	host := issue(t, "server", authority, x509.Certificate{DNSNames: []string{"metrics.example"}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}})
	person := issue(t, "client", authority, x509.Certificate{ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	trusted := x509.NewCertPool()
	trusted.AppendCertsFromPEM(authority.cert)

	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		who := "nobody"
		if len(r.TLS.PeerCertificates) > 0 {
			who = r.TLS.PeerCertificates[0].Subject.CommonName
		}
		fmt.Fprintf(w, "%q", who)
	}))
	server.TLS = &tls.Config{Certificates: []tls.Certificate{host.pair}, ClientCAs: trusted, ClientAuth: tls.VerifyClientCertIfGiven, MinVersion: tls.VersionTLS12}
	server.Config.ErrorLog = log.New(io.Discard, "", 0) // it logs handshakes that are meant to fail
	server.StartTLS()
	t.Cleanup(server.Close)

	dir := t.TempDir()
	file := func(name string, content []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	for name, c := range map[string]struct {
		connection prometheus.Connection
		want       string // who the server saw, or part of the error
	}{
		"the system's authorities":  {prometheus.Connection{ServerName: "metrics.example"}, "certificate"},
		"another authority":         {prometheus.Connection{CA: stranger.cert, ServerName: "metrics.example"}, "certificate"},
		"another name":              {prometheus.Connection{CA: authority.cert, ServerName: "other.example"}, "not other.example"},
		"the address is no name":    {prometheus.Connection{CA: authority.cert}, "127.0.0.1"},
		"the authority":             {prometheus.Connection{CA: authority.cert, ServerName: "metrics.example"}, "nobody"},
		"the authority from a file": {prometheus.Connection{CAFile: file("ca", authority.cert), ServerName: "metrics.example"}, "nobody"},
		"unverified":                {prometheus.Connection{InsecureSkipVerify: true}, "nobody"},
		"a client's certificate":    {prometheus.Connection{CA: authority.cert, ServerName: "metrics.example", Cert: person.cert, Key: person.key}, "client"},
		"a client's certificate from files": {prometheus.Connection{CA: authority.cert, ServerName: "metrics.example",
			CertFile: file("cert", person.cert), KeyFile: file("key", person.key)}, "client"},
	} {
		t.Run(name, func(t *testing.T) {
			result, err := client(t, web.Options{Connection: c.connection}).Ask(t.Context(), web.Request{URL: server.URL})
			if err != nil {
				if !strings.Contains(err.Error(), c.want) {
					t.Errorf("got  %v\nwant %s", err, c.want)
				}
				return
			}
			if result.JSON != c.want {
				t.Errorf("the server saw %v, want %s", result.JSON, c.want)
			}
		})
	}
	for name, connection := range map[string]prometheus.Connection{
		"no authority":     {CA: []byte("s3cret")},
		"a missing file":   {CAFile: filepath.Join(dir, "missing")},
		"half a pair":      {Cert: person.cert},
		"a key that is no": {Cert: person.cert, Key: []byte("s3cret")},
	} {
		c, err := web.New(web.Options{Connection: connection, Loopback: true})
		if err == nil { // read when it is used
			t.Cleanup(c.Close)
			_, err = c.Ask(t.Context(), web.Request{URL: server.URL})
		}
		if err == nil || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// FuzzRequest looks for panics, and for secrets in errors about requests that are not made.
func FuzzRequest(f *testing.F) {
	f.Add("http://user:s3cret@[::1", "GET", "Authorization", "s3cret", "")
	f.Add("http://[fe80::1%25eth0]:99999/", "POST", "Host", "a b", "x")
	f.Add("HTTPS://ex\x00ample", "PUT", "Content-Length", "-1", "")
	c, err := web.New(web.Options{})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(c.Close)
	f.Fuzz(func(t *testing.T, address, method, header, value, body string) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel() // nothing is to be sent
		const secret = "s3cret-s3cret"
		_, err := c.Ask(ctx, web.Request{URL: address, Method: method, Headers: map[string]string{header: value + secret}, Body: body + secret})
		if err == nil || strings.Contains(err.Error(), secret) {
			t.Errorf("%v", err)
		}
	})
}
