package h2_test

import (
	"io"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"golang.org/x/net/http2"

	"github.com/sluice-mesh/sluice/mesh/ir"
)

// TestMalformedRequestsAreReset sends what RFC 9113 calls malformed, and what an HTTP/1.1 server behind some
// other proxy could read as something else: no application gets it.
func TestMalformedRequestsAreReset(t *testing.T) {
	var asked atomic.Int64
	pod := app(t, func(_ http.ResponseWriter, r *http.Request) {
		if _, err := io.Copy(io.Discard, r.Body); err == nil {
			asked.Add(1)
		}
	})
	b := outbound(t, ir.HTTP2, ir.Split{}, revisions{"v1": {pod}})
	door := b.Door(shopAddress)
	line := []string{":method", "GET", ":scheme", "http", ":path", "/", ":authority", "shop"}
	and := func(more ...string) []string { return append(append([]string(nil), line...), more...) }
	but := func(name, value string) []string {
		pairs := and()
		for i := 0; i < len(pairs); i += 2 {
			if pairs[i] == name {
				pairs[i+1] = value
			}
		}
		return pairs
	}
	cases := map[string][]string{
		"no method":             {":scheme", "http", ":path", "/"},
		"empty method":          but(":method", ""),
		"method with a space":   but(":method", "GET /x"),
		"no scheme":             {":method", "GET", ":path", "/"},
		"no path":               {":method", "GET", ":scheme", "http"},
		"empty path":            but(":path", ""),
		"relative path":         but(":path", "a"),
		"path with a space":     but(":path", "/ HTTP/1.1"),
		"path with a line":      but(":path", "/\r\nx: y"),
		"star of a GET":         but(":path", "*"),
		"authority with a user": but(":authority", "me@shop"),
		"authority with a path": but(":authority", "shop/x"),
		"authority with a line": but(":authority", "shop\nx"),
		"two paths":             and(":path", "/b"),
		"two hosts":             and("host", "shop", "host", "cart"),
		"host that differs":     and("host", "cart"),
		"two authorities":       append([]string{":authority", ""}, line...),
		"two hosts, one empty":  and("host", "", "host", "shop"),
		"empty host":            and("host", ""),
		"host with a path":      append(slices.Clone(line[:6]), "host", "shop/x"),
		"status":                and(":status", "200"),
		"protocol":              and(":protocol", "websocket"),
		"late pseudo":           {":method", "GET", ":scheme", "http", "a", "b", ":path", "/"},
		"upper case":            and("Accept", "a"),
		"space in a name":       and("a b", "c"),
		"colon in a name":       and("a:b", "c"),
		"empty name":            and("", "c"),
		"line in a value":       and("a", "b\r\nc: d"),
		"NUL in a value":        and("a", "b\x00"),
		"connection":            and("connection", "close"),
		"keep-alive":            and("keep-alive", "5"),
		"proxy-connection":      and("proxy-connection", "close"),
		"transfer-encoding":     and("transfer-encoding", "chunked"),
		"upgrade":               and("upgrade", "h2c"),
		"te":                    and("te", "gzip"),
		"two lengths":           and("content-length", "1", "content-length", "2"),
		"length with a sign":    and("content-length", "+0"),
		"list of lengths":       and("content-length", "0, 0"),
		"length without data":   and("content-length", "5"),
		"CONNECT with a path":   but(":method", "CONNECT"),
	}
	for name, pairs := range cases {
		t.Run(name, func(t *testing.T) {
			r := dialRaw(t, door)
			r.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, EndHeaders: true, EndStream: true, BlockFragment: r.encode(pairs...)})
			r.until("the reset", func(f http2.Frame) bool {
				reset, ok := f.(*http2.RSTStreamFrame)
				if ok && reset.ErrCode != http2.ErrCodeProtocol {
					t.Errorf("reset with %v", reset.ErrCode)
				}
				if _, answered := f.(*http2.MetaHeadersFrame); answered {
					t.Fatal("answered")
				}
				return ok
			})
		})
	}
	bodies := map[string]func(*raw){
		"more than the length": func(r *raw) { r.request(1, false, "content-length", "3"); r.WriteData(1, false, []byte("1234")) },
		"less than the length": func(r *raw) { r.request(1, false, "content-length", "3"); r.WriteData(1, true, []byte("12")) },
		"less and trailers": func(r *raw) {
			r.request(1, false, "content-length", "3")
			r.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, EndHeaders: true, EndStream: true, BlockFragment: r.encode("a", "b")})
		},
		"pseudo in trailers": func(r *raw) {
			r.request(1, false)
			r.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, EndHeaders: true, EndStream: true, BlockFragment: r.encode(":path", "/")})
		},
		"connection in trailers": func(r *raw) {
			r.request(1, false)
			r.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, EndHeaders: true, EndStream: true, BlockFragment: r.encode("connection", "close")})
		},
	}
	for name, send := range bodies {
		t.Run(name, func(t *testing.T) {
			r := dialRaw(t, door)
			send(r)
			r.until("the reset", func(f http2.Frame) bool { _, ok := f.(*http2.RSTStreamFrame); return ok })
		})
	}
	eventually(t, "no request is in flight", func() bool { return b.Active() == 0 })
	if n := asked.Load(); n != 0 {
		t.Errorf("the application got %d whole requests", n)
	}
}

func TestConnectIsRefused(t *testing.T) {
	b := outbound(t, ir.HTTP2, ir.Split{}, quiet(t))
	r := dialRaw(t, b.Door(shopAddress))
	r.WriteHeaders(http2.HeadersFrameParam{
		StreamID: 1, EndHeaders: true, BlockFragment: r.encode(":method", "CONNECT", ":authority", "elsewhere:443"),
	})
	r.until("405", func(f http2.Frame) bool {
		h, ok := f.(*http2.MetaHeadersFrame)
		return ok && h.PseudoValue("status") == "405"
	})
}

// TestMalformedResponses lets an endpoint break the rules: the caller gets 502, or a reset once the response
// has begun.
func TestMalformedResponses(t *testing.T) {
	headers := func(end bool, pairs ...string) func(*raw) {
		return func(r *raw) {
			r.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, EndHeaders: true, EndStream: end, BlockFragment: r.encode(pairs...)})
		}
	}
	then := func(first func(*raw), next func(*raw)) func(*raw) { return func(r *raw) { first(r); next(r) } }
	data := func(text string) func(*raw) { return func(r *raw) { r.WriteData(1, true, []byte(text)) } }
	cases := map[string]struct {
		say  func(*raw)
		want string // status, or "" for a body that breaks off
	}{
		"no status":          {headers(true, "a", "b"), "502"},
		"request's fields":   {headers(true, ":status", "200", ":path", "/"), "502"},
		"two statuses":       {headers(true, ":status", "200", ":status", "200"), "502"},
		"101":                {headers(true, ":status", "101"), "502"},
		"no number":          {headers(true, ":status", "2xx"), "502"},
		"connection":         {headers(true, ":status", "200", "connection", "close"), "502"},
		"upper case":         {headers(true, ":status", "200", "Server", "x"), "502"},
		"line in a value":    {headers(true, ":status", "200", "server", "x\ny"), "502"},
		"interim that ends":  {headers(true, ":status", "103"), "502"},
		"DATA first":         {data("hello"), "502"},
		"length and no data": {headers(true, ":status", "200", "content-length", "3"), "502"},
		"push": {func(r *raw) {
			r.WritePushPromise(http2.PushPromiseParam{StreamID: 1, PromiseID: 2, EndHeaders: true})
		}, "502"},
		"too large a head":   {headers(true, ":status", "200", "a", strings.Repeat("x", 300<<10)), "502"},
		"more than it said":  {then(headers(false, ":status", "200", "content-length", "3"), data("1234")), ""},
		"less than it said":  {then(headers(false, ":status", "200", "content-length", "3"), data("12")), ""},
		"pseudo in trailers": {then(headers(false, ":status", "200"), headers(true, ":status", "200")), ""},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			pod := rawApp(t, func(r *raw) {
				for {
					f, err := r.ReadFrame()
					if err != nil {
						return
					}
					if _, ok := f.(*http2.MetaHeadersFrame); ok {
						c.say(r)
					}
				}
			})
			b := outbound(t, ir.HTTP2, ir.Split{}, revisions{"v1": {pod}})
			response, err := client(t, b.Door(shopAddress)).Post("http://shop/", "text/plain", nil)
			if err != nil {
				t.Fatal(err)
			}
			defer response.Body.Close()
			_, err = io.ReadAll(response.Body)
			if c.want != "" && (response.Status[:3] != c.want || err != nil) || c.want == "" && err == nil {
				t.Errorf("%s, body: %v", response.Status, err)
			}
			if code := "code=0"; c.want != "" && b.Total(code) != 1 {
				t.Errorf("not counted as %s", code)
			} else if c.want == "" && b.Total("code=502") != 1 {
				t.Error("not counted as 502")
			}
		})
	}
}

// TestLateDataOfManyStreams: what was on its way while we reset many streams at once is no offence.
func TestLateDataOfManyStreams(t *testing.T) {
	b := outbound(t, ir.HTTP2, ir.Split{}, revisions{"v1": {nobody(t)}})
	r := dialRaw(t, b.Door(shopAddress))
	const streams = 200
	for i := range uint32(streams) {
		r.request(2*i+1, false)
	}
	n := 0
	r.until("the resets", func(f http2.Frame) bool {
		if reset, ok := f.(*http2.RSTStreamFrame); ok && reset.ErrCode == http2.ErrCodeNo {
			n++
		}
		return n == streams
	})
	for i := range uint32(streams) {
		r.WriteData(2*i+1, i%2 == 0, []byte("late"))
	}
	r.WritePing(false, [8]byte{})
	r.until("the PING's answer", func(f http2.Frame) bool {
		if reset, ok := f.(*http2.RSTStreamFrame); ok {
			t.Fatalf("stream %d reset with %v", reset.StreamID, reset.ErrCode)
		}
		_, ok := f.(*http2.PingFrame)
		return ok
	})
}
