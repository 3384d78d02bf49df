package h1

import (
	"bufio"
	"bytes"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
)

// The requests that are used to smuggle others past a proxy, and what is answered.
var refused = []struct {
	name, sent string
	status     int
}{
	{"two lengths", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\nbodyG", 400},
	{"lengths written differently", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 04\r\nContent-Length: 4\r\n\r\nbody", 400},
	{"list of lengths", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4, 5\r\n\r\nbodyG", 400},
	{"list of equal lengths", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4, 4\r\n\r\nbody", 400},
	{"length with sign", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +4\r\n\r\nbody", 400},
	{"negative length", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -4\r\n\r\nbody", 400},
	{"hexadecimal length", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0x4\r\n\r\nbody", 400},
	{"length with space", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1 4\r\n\r\nbody", 400},
	{"empty length", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length:\r\n\r\nbody", 400},
	{"huge length", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 18446744073709551620\r\n\r\nbody", 400},
	{"length and coding", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400},
	{"coding and length", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n", 400},
	{"odd coding", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", 501},
	{"coding twice", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400},
	{"coding twice in a list", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n", 400},
	{"identity", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n", 400},
	{"gzip before", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 501},
	{"coding with control", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n", 400},
	{"coding in quotes", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \"chunked\"\r\n\r\n0\r\n\r\n", 501},
	{"empty coding", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\r\n\r\n0\r\n\r\n", 400},
	{"coding on HTTP/1.0", "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400},
	{"bare LF", "GET / HTTP/1.1\nHost: a\r\n\r\n", 400},
	{"bare LF at the end", "GET / HTTP/1.1\r\nHost: a\n\n", 400},
	{"bare LF in a field", "GET / HTTP/1.1\r\nHost: a\r\nX: 1\nY: 2\r\n\r\n", 400},
	{"bare CR in a field", "GET / HTTP/1.1\r\nHost: a\r\nX: 1\rY: 2\r\n\r\n", 400},
	{"bare CR before a field", "GET / HTTP/1.1\r\nHost: a\r\n\rX: 1\r\n\r\n", 400},
	{"folded", "GET / HTTP/1.1\r\nHost: a\r\nX: 1\r\n Content-Length: 4\r\n\r\n", 400},
	{"folded at once", "GET / HTTP/1.1\r\n Host: a\r\n\r\n", 400},
	{"folded with tab", "GET / HTTP/1.1\r\nHost: a\r\nX: 1\r\n\tmore\r\n\r\n", 400},
	{"space before the colon", "GET / HTTP/1.1\r\nHost: a\r\nContent-Length : 4\r\n\r\nbody", 400},
	{"tab before the colon", "GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding\t: chunked\r\n\r\n", 400},
	{"empty name", "GET / HTTP/1.1\r\nHost: a\r\n: b\r\n\r\n", 400},
	{"no colon", "GET / HTTP/1.1\r\nHost: a\r\nabc\r\n\r\n", 400},
	{"name with control", "GET / HTTP/1.1\r\nHost: a\r\nX\x00Y: 1\r\n\r\n", 400},
	{"name not ASCII", "GET / HTTP/1.1\r\nHost: a\r\nX\xff: 1\r\n\r\n", 400},
	{"value with NUL", "GET / HTTP/1.1\r\nHost: a\r\nX: a\x00b\r\n\r\n", 400},
	{"value with DEL", "GET / HTTP/1.1\r\nHost: a\r\nX: a\x7fb\r\n\r\n", 400},
	{"control in target", "GET /\x01 HTTP/1.1\r\nHost: a\r\n\r\n", 400},
	{"space in target", "GET /a b HTTP/1.1\r\nHost: a\r\n\r\n", 400},
	{"tab in the request line", "GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n", 400},
	{"two spaces", "GET  / HTTP/1.1\r\nHost: a\r\n\r\n", 400},
	{"no version", "GET /\r\nHost: a\r\n\r\n", 400},
	{"HTTP/1.2", "GET / HTTP/1.2\r\nHost: a\r\n\r\n", 505},
	{"HTTP/2.0", "GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505},
	{"HTTP/0.9", "GET / HTTP/0.9\r\nHost: a\r\n\r\n", 505},
	{"http/1.1", "GET / http/1.1\r\nHost: a\r\n\r\n", 400},
	{"HTTP/1.10", "GET / HTTP/1.10\r\nHost: a\r\n\r\n", 400},
	{"no Host", "GET / HTTP/1.1\r\n\r\n", 400},
	{"two Hosts", "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400},
	{"Host with space", "GET / HTTP/1.1\r\nHost: a b\r\n\r\n", 400},
	{"Host with path", "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", 400},
	{"Host with user", "GET / HTTP/1.1\r\nHost: u@a\r\n\r\n", 400},
	{"Host that differs", "GET http://a/ HTTP/1.1\r\nHost: b\r\n\r\n", 400},
	{"bad escape", "GET /%zz HTTP/1.1\r\nHost: a\r\n\r\n", 400},
	{"fragment", "GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n", 400},
	{"relative target", "GET a HTTP/1.1\r\nHost: a\r\n\r\n", 400},
	{"asterisk", "GET * HTTP/1.1\r\nHost: a\r\n\r\n", 400},
	{"other scheme", "GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n", 400},
	{"user in target", "GET http://u@a/ HTTP/1.1\r\nHost: a\r\n\r\n", 400},
	{"CONNECT", "CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n", 501},
	{"too many fields", "GET / HTTP/1.1\r\nHost: a\r\n" + strings.Repeat("X: 1\r\n", 300) + "\r\n", 431},
	{"too many tokens", "GET / HTTP/1.1\r\nHost: a\r\nConnection: " + strings.Repeat("x,", 100) + "\r\n\r\n", 400},
	{"forbidden trailer", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTrailer: Content-Length\r\n\r\n0\r\n\r\n", 400},
	{"method with control", "G\x00T / HTTP/1.1\r\nHost: a\r\n\r\n", 400},
	{"no method", " / HTTP/1.1\r\nHost: a\r\n\r\n", 400},
	{"chunk size with sign", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n+1\r\na\r\n0\r\n\r\n", 400},
	{"chunk size with 0x", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0x1\r\na\r\n0\r\n\r\n", 400},
	{"chunk size with space", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1 \r\na\r\n0\r\n\r\n", 400},
	{"chunk size too long", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n10000000000000001\r\na\r\n0\r\n\r\n", 400},
	{"empty chunk size", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n\r\na\r\n0\r\n\r\n", 400},
	{"chunk size with bare LF", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\na\r\n0\r\n\r\n", 400},
	{"chunk extension with bare LF", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1;x\na\r\n0\r\n\r\n", 400},
	{"chunk longer than its size", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nab\r\n0\r\n\r\n", 400},
	{"chunk with bare LF", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\n0\r\n\r\n", 400},
	{"trailer with bare LF", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: 1\n\r\n", 400},
	{"trailer of length", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nContent-Length: 4\r\n\r\n", 400},
	{"trailer folded", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n X: 1\r\n\r\n", 400},
	{"chunks that are nearly all extension", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" +
		strings.Repeat("1;"+strings.Repeat("x", 1000)+"\r\na\r\n", 20) + "0\r\n\r\n", 400},
}

// accepted are requests that are good, so that the fuzzer has something to spoil.
var accepted = []string{
	"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
	"GET / HTTP/1.0\r\n\r\n",
	"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
	"GET http://a.example:80/b?c HTTP/1.1\r\nHost: a.example:80\r\n\r\n",
	"GET http://a HTTP/1.1\r\nHost: A\r\n\r\n",
	"GET http://[::1]:80/ HTTP/1.1\r\nHost: [::1]:80\r\n\r\n",
	"OPTIONS * HTTP/1.1\r\nHost:\r\n\r\n",
	"GET //a/%2f;x?y=%zz&{} HTTP/1.1\r\nHost: a_b.c-d\r\nX:\t a \t\r\nx: \xe4\tb\r\nPragma: no-cache\r\n\r\n",
	"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbodyGET / HTTP/1.1\r\nHost: b\r\n\r\n",
	"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nContent-Length: 4\r\n\r\nbody",
	"PUT /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\nTrailer: X\r\n\r\n5;a=b\r\nhello\r\n000\r\nX: 1\r\nY: 2\r\n\r\nGET / HTTP/1.1\r\n",
	"PUT /a HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\nExpect: 100-continue\r\n\r\na;q=\"x\"\r\n0123456789\r\n0\r\n\r\n",
	"GET / HTTP/1.1\r\nHost: a\r\nConnection: close, X, Content-Length, Host, , te\r\nX: 1\r\nTE: trailers\r\nKeep-Alive: 5\r\n\r\n",
	"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSluice-Intended: a/b;c\r\n\r\n",
	"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: x\r\n\r\n",
}

func TestRefusedRequests(t *testing.T) {
	for _, c := range refused {
		_, m := parsed([]byte(c.sent))
		if m == nil || m.status != c.status {
			t.Errorf("%s: %v, want %d", c.name, m, c.status)
		}
	}
	for _, sent := range accepted {
		if x, m := parsed([]byte(sent)); m != nil || x == nil {
			t.Errorf("%q is refused: %v", sent, m)
		}
	}
}

// parsed does with bytes what a connection does; nil and nil: the head is not there whole.
func parsed(b []byte) (*exchange, *malformed) {
	n, m := headEnd(b, 0)
	if n == 0 || m != nil {
		return nil, m
	}
	x := &exchange{c: &conn{}, rule: noRule}
	x.c.in, x.c.w = &buffer{b}, len(b)
	if m := x.request.parse(b[:n]); m != nil {
		return nil, m
	}
	if _, m := x.takeBody(n); m != nil {
		return nil, m
	}
	return x, nil
}

func FuzzRequest(f *testing.F) {
	for _, c := range refused {
		f.Add([]byte(c.sent))
	}
	for _, sent := range accepted {
		f.Add([]byte(sent))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		x, m := parsed(b)
		if m != nil || x == nil {
			return
		}
		in := bytes.NewReader(b)
		r := bufio.NewReaderSize(in, len(b)+16)
		want, err := http.ReadRequest(r)
		if err != nil {
			t.Fatalf("net/http refuses it: %v", err)
		}
		q := &x.request
		if want.Method != q.method || want.RequestURI != q.target || want.Host != q.authority || want.ProtoMinor != int(q.minor) {
			t.Errorf("%s %s %q %d; net/http: %s %s %q %d", q.method, q.target, q.authority, q.minor,
				want.Method, want.RequestURI, want.Host, want.ProtoMinor)
		}
		if want.URL.EscapedPath() != "*" && want.URL.RawQuery != q.query {
			t.Errorf("query %q; net/http: %q", q.query, want.URL.RawQuery)
		}
		if want.Close != q.last() {
			t.Errorf("last %v; net/http: %v", q.last(), want.Close)
		}
		compareHeaders(t, &q.head, want.Header, "Host")
		body, err := io.ReadAll(want.Body)
		if (err == nil) != x.body.done {
			t.Fatalf("body done %v; net/http: %v", x.body.done, err)
		}
		if err != nil {
			return
		}
		used := len(q.b) + len(x.first)
		if at := len(b) - r.Buffered() - in.Len(); at != used {
			t.Errorf("the next request begins at %d; net/http: %d", used, at)
		}
		if !q.chunked && !bytes.Equal(body, x.first) {
			t.Errorf("body %q; net/http: %q", x.first, body)
		}
		compareForwarded(t, x, want, body)
	})
}

// compareForwarded checks that what goes to the endpoint is the same request, for net/http.
func compareForwarded(t *testing.T, x *exchange, want *http.Request, body []byte) {
	sent := append(x.appendRequest(nil, "a/b;c"), x.first...)
	r := bufio.NewReader(bytes.NewReader(sent))
	got, err := http.ReadRequest(r)
	if err != nil {
		t.Fatalf("forwarded as %q: %v", sent, err)
	}
	if got.Method != want.Method || got.RequestURI != want.RequestURI || got.Host != want.Host || got.ProtoMinor != want.ProtoMinor {
		t.Errorf("forwarded as %q", sent)
	}
	if value := got.Header["Sluice-Intended"]; !slices.Equal(value, []string{"a/b;c"}) {
		t.Errorf("sluice-intended: %q", value)
	}
	for name, values := range want.Header {
		switch strings.ToLower(name) {
		case "connection", "keep-alive", "proxy-connection", "upgrade", "te", "sluice-intended", "cache-control":
			continue
		}
		if named(want.Header["Connection"], name) || strings.HasPrefix(strings.ToLower(name), "sluice-") {
			continue
		}
		if !slices.Equal(values, got.Header[name]) {
			t.Errorf("%s: %q was forwarded as %q", name, values, got.Header[name])
		}
		delete(got.Header, name)
	}
	for name := range got.Header {
		switch name {
		case "Connection", "Upgrade", "Te", "Sluice-Intended", "Cache-Control":
		default:
			t.Errorf("%s was made up: %q", name, sent)
		}
	}
	again, err := io.ReadAll(got.Body)
	if err != nil || !bytes.Equal(again, body) || r.Buffered() != 0 {
		t.Errorf("body %q was forwarded as %q, %v, %d bytes behind", body, again, err, r.Buffered())
	}
	for name := range want.Trailer {
		if !slices.Equal(want.Trailer[name], got.Trailer[name]) {
			t.Errorf("trailer %s", name)
		}
	}
}

func named(connection []string, name string) bool {
	for _, value := range connection {
		for token := range strings.SplitSeq(value, ",") {
			if strings.EqualFold(strings.Trim(token, " \t"), name) && !strings.EqualFold(name, "Content-Length") {
				return true
			}
		}
	}
	return false
}

func compareHeaders(t *testing.T, h *head, want http.Header, without ...string) {
	t.Helper()
	got := http.Header{}
	for i := range h.fields {
		f := &h.fields[i]
		if f.kind == droppedField || f.kind == codingField || f.kind == trailerField {
			continue // net/http takes these out too
		}
		if name := http.CanonicalHeaderKey(string(h.name(f))); !slices.Contains(without, name) {
			got[name] = append(got[name], h.content(f))
		}
	}
	if _, found := got["Cache-Control"]; !found && len(got["Pragma"]) > 0 && got["Pragma"][0] == "no-cache" {
		got["Cache-Control"] = []string{"no-cache"} // which net/http makes up
	}
	want = want.Clone()
	delete(want, "Trailer")
	for name, values := range got {
		if name == "Content-Length" && len(want[name]) > 0 {
			want[name] = values // it may have written the same number differently
		}
	}
	if !maps.EqualFunc(got, want, slices.Equal) {
		t.Errorf("header %q; net/http: %q", got, want)
	}
}

var responses = []string{
	"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
	"HTTP/1.1 200\r\n\r\nto the end",
	"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\n\r\n",
	"HTTP/1.1 204 No Content\r\n\r\n",
	"HTTP/1.1 304 Not Modified\r\nContent-Length: 100\r\n\r\n",
	"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X\r\n\r\n3\r\nabc\r\n0\r\nX: 1\r\n\r\n",
	"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n",
	"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
	"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok",
	"HTTP/1.1 200 OK\nContent-Length: 2\n\nok",
	"HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length: 2\r\n\r\nok",
	"HTTP/1.1 20 OK\r\n\r\n", "HTTP/1.1 2000 OK\r\n\r\n", "HTTP/2.0 200 OK\r\n\r\n", "HTTP/1.1  200 OK\r\n\r\n",
	"HTTP/1.1 200 O\x00K\r\n\r\n",
}

func FuzzResponse(f *testing.F) {
	for _, r := range responses {
		f.Add([]byte(r), false)
		f.Add([]byte(r), true)
	}
	f.Fuzz(func(t *testing.T, b []byte, head bool) {
		n, m := headEnd(b, 0)
		if n == 0 || m != nil {
			return
		}
		var got response
		if got.parse(b[:n]) != nil || got.status < 200 {
			return
		}
		method := "GET"
		if head {
			method = "HEAD"
		}
		in := bytes.NewReader(b)
		r := bufio.NewReaderSize(in, len(b)+16)
		want, err := http.ReadResponse(r, &http.Request{Method: method})
		if err != nil {
			t.Fatalf("net/http refuses it: %v", err)
		}
		if want.StatusCode != got.status || want.ProtoMinor != int(got.minor) {
			t.Errorf("status %d; net/http: %d", got.status, want.StatusCode)
		}
		compareHeaders(t, &got.head, want.Header)
		var rest body
		rest.follow(&got, method)
		used, m := rest.take(b[n:])
		if m != nil {
			return
		}
		content, err := io.ReadAll(want.Body)
		if rest.framing == byClose {
			if err != nil || !bytes.Equal(content, b[n:]) {
				t.Errorf("to the end: %q, %v", content, err)
			}
			return
		}
		if (err == nil) != rest.done {
			t.Fatalf("body done %v; net/http: %v", rest.done, err)
		}
		if at := len(b) - r.Buffered() - in.Len(); rest.done && at != n+used {
			t.Errorf("the next response begins at %d; net/http: %d", n+used, at)
		}
	})
}

// However the bytes are cut, the outcome is the same.
func FuzzBodyInPieces(f *testing.F) {
	for _, sent := range accepted {
		if _, body, found := strings.Cut(sent, "\r\n\r\n"); found {
			f.Add([]byte(body), uint8(3))
		}
	}
	f.Fuzz(func(t *testing.T, b []byte, cut uint8) {
		var whole, pieces body
		whole.reset(byChunks, 0)
		pieces.reset(byChunks, 0)
		want, wantFault := whole.take(b)
		got, at := 0, 0
		var fault *malformed
		for at < len(b) && fault == nil && !pieces.done {
			end := min(len(b), at+1+int(cut)%7)
			var n int
			n, fault = pieces.take(b[at:end])
			got += n
			at = end
		}
		if fault != wantFault || fault == nil && (got != want || pieces.done != whole.done) {
			t.Errorf("in pieces %d %v %v, whole %d %v %v", got, pieces.done, fault, want, whole.done, wantFault)
		}
	})
}
