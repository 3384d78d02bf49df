package h1_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sluice-mesh/sluice/mesh/proxy/engine"
	"github.com/sluice-mesh/sluice/mesh/proxy/table"
)

// answers reads responses until the connection ends.
func answers(t *testing.T, r *bufio.Reader, methods ...string) (all []string) {
	t.Helper()
	for i := 0; ; i++ {
		method := "GET"
		if i < len(methods) {
			method = methods[i]
		}
		text, ok := answer(r, method)
		if !ok {
			return all
		}
		all = append(all, text)
	}
}

// answer reads one response; not ok: the connection has ended.
func answer(r *bufio.Reader, method string) (text string, ok bool) {
	response, err := http.ReadResponse(r, &http.Request{Method: method})
	if err != nil {
		return "", false
	}
	body, err := io.ReadAll(response.Body)
	response.Body.Close()
	text = fmt.Sprint(response.StatusCode, " ", string(body))
	if err != nil {
		text += " " + err.Error()
	}
	return text, true
}

func TestPipelining(t *testing.T) {
	app := serve(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		fmt.Fprintf(w, "%s %s %s", r.Method, r.URL, body)
	})
	caller, _ := chain(t, app)
	_, r := caller.say("\r\nGET /1 HTTP/1.1\r\nHost: a\r\n\r\n" +
		"POST /2 HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc\r\n" +
		"POST /3 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2;x=y\r\nde\r\n0\r\nX: 1\r\n\r\n" +
		"HEAD /4 HTTP/1.1\r\nHost: a\r\n\r\n" +
		"GET /5 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\nGET /6 HTTP/1.1\r\nHost: a\r\n\r\n")
	want := []string{"200 GET /1 ", "200 POST /2 abc", "200 POST /3 de", "200 ", "200 GET /5 "}
	if got := answers(t, r, "GET", "POST", "POST", "HEAD"); !slices.Equal(got, want) {
		t.Errorf("heard %q", got)
	}
}

// More requests at once than fit into any buffer, and a caller that reads late.
func TestLongPipeline(t *testing.T) {
	caller, _ := chain(t, says(t, "x"))
	const n = 2000
	conn := caller.dial()
	var sending sync.WaitGroup
	sending.Go(func() {
		for i := range n {
			fmt.Fprintf(conn, "POST /%d HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%s", i, i%50, strings.Repeat("b", i%50))
		}
	})
	r := bufio.NewReader(conn)
	for i := range n {
		got, ok := answer(r, "POST")
		if want := "200 x" + strings.Repeat("b", i%50); !ok || got != want {
			t.Fatalf("answer %d: %q", i, got)
		}
	}
	sending.Wait()
	conn.CloseWrite() // not before: a caller that has ended its side is only served while the answer is quick
	if more := answers(t, r); len(more) > 0 {
		t.Errorf("%d answers more than requests", len(more))
	}
}

func TestByteByByte(t *testing.T) {
	const response = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;x\r\nabc\r\n0\r\nX: y\r\n\r\n"
	app := raw(t, func(c net.Conn, r *bufio.Reader) {
		for readHead(r) != "" {
			io.ReadFull(r, make([]byte, 4))
			for i := range len(response) {
				io.WriteString(c, response[i:i+1])
				time.Sleep(100 * time.Microsecond)
			}
		}
	})
	caller, _ := chain(t, app)
	const sent = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody"
	conn, r := caller.say("")
	for range 3 {
		for i := range len(sent) {
			io.WriteString(conn, sent[i:i+1])
			time.Sleep(100 * time.Microsecond)
		}
		got := make([]byte, len(response))
		if _, err := io.ReadFull(r, got); err != nil || string(got) != response {
			t.Fatalf("heard %q, %v", got, err)
		}
	}
	eventually(t, "three requests", func() bool { return caller.Total("code=200") == 3 })
}

func TestHTTP10(t *testing.T) {
	app := serve(t, func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, r.Proto)
		http.NewResponseController(w).Flush() // no length
		io.WriteString(w, "!")
	})
	caller, _ := chain(t, app)
	_, r := caller.say("GET / HTTP/1.0\r\n\r\n")
	if got := answers(t, r); !slices.Equal(got, []string{"200 HTTP/1.0!"}) {
		t.Errorf("heard %q", got)
	}
	kept, _ := chain(t, says(t, "x"))
	_, r = kept.say("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\nGET / HTTP/1.0\r\n\r\n")
	if got := answers(t, r); !slices.Equal(got, []string{"200 x", "200 x"}) {
		t.Errorf("heard %q", got)
	}
}

// One response to the end of the connection, one of an old server.
func TestResponsesToTheEnd(t *testing.T) {
	for name, response := range map[string]string{
		"HTTP/1.1": "HTTP/1.1 200 OK\r\n\r\nto the end",
		"HTTP/1.0": "HTTP/1.0 200 OK\r\n\r\nto the end",
	} {
		app := raw(t, func(c net.Conn, r *bufio.Reader) { readHead(r); io.WriteString(c, response) })
		caller, _ := chain(t, app)
		_, r := caller.say("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
		got, err := io.ReadAll(r)
		if want := "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nto the end"; string(got) != want || err != nil {
			t.Errorf("%s: heard %q, %v", name, got, err)
		}
	}
}

func TestBadResponses(t *testing.T) {
	for name, response := range map[string]string{
		"bare LF":          "HTTP/1.1 200 OK\nContent-Length: 2\n\nok",
		"two lengths":      "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok",
		"both":             "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"coding on 1.0":    "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"folded":           "HTTP/1.1 200 OK\r\nX: a\r\n b\r\n\r\n",
		"no status":        "hello\r\n\r\n",
		"bad chunk":        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
		"unasked switch":   "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n",
		"endless interims": strings.Repeat("HTTP/1.1 103 Early Hints\r\n\r\n", 100),
		"huge head":        "HTTP/1.1 200 OK\r\nX: " + strings.Repeat("a", 300<<10) + "\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			app := raw(t, func(c net.Conn, r *bufio.Reader) {
				readHead(r)
				io.WriteString(c, response)
				io.Copy(io.Discard, r)
			})
			b := outbound(t, nil)
			b.Apply(plainShop(app))
			_, r := b.say("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
			head := readHead(r)
			for strings.HasPrefix(head, "HTTP/1.1 103") {
				head = readHead(r)
			}
			if !strings.HasPrefix(head, "HTTP/1.1 502 ") {
				t.Errorf("heard %q, want 502", head)
			}
		})
	}
}

// An endpoint that says more than it was asked for spoils nothing for the next caller.
func TestUnaskedResponse(t *testing.T) {
	var conns atomic.Int32
	said := make(chan struct{}, 10)
	app := raw(t, func(c net.Conn, r *bufio.Reader) {
		conns.Add(1)
		for head := readHead(r); head != ""; head = readHead(r) {
			io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
			time.Sleep(5 * time.Millisecond)
			io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil")
			said <- struct{}{}
		}
	})
	b := outbound(t, nil)
	b.Apply(plainShop(app))
	client := b.client()
	for range 5 {
		if _, body := get(t, client, "/"); body != "ok" {
			t.Fatalf("heard %q", body)
		}
		<-said
		time.Sleep(20 * time.Millisecond) // it arrives
	}
	if conns.Load() != 5 {
		t.Errorf("%d connections, want a new one each time", conns.Load())
	}
}

// A POST on a kept connection that the endpoint has closed goes out on another one, once.
func TestPostMeetsClosedConnection(t *testing.T) {
	var posts atomic.Int32
	closed := make(chan struct{}, 100)
	app := raw(t, func(c net.Conn, r *bufio.Reader) {
		head := readHead(r)
		if strings.HasPrefix(head, "POST") {
			posts.Add(1)
		}
		io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
		c.Close()
		closed <- struct{}{}
	})
	b := outbound(t, nil)
	b.Apply(plainShop(app))
	conn, r := b.say("")
	for range 20 {
		for _, request := range []string{"GET / HTTP/1.1\r\nHost: a\r\n\r\n", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx"} {
			io.WriteString(conn, request)
			head := readHead(r)
			io.ReadFull(r, make([]byte, 2))
			if !strings.HasPrefix(head, "HTTP/1.1 200 ") {
				t.Fatalf("heard %q", head)
			}
			<-closed
			time.Sleep(2 * time.Millisecond) // the endpoint's end arrives
		}
	}
	if posts.Load() != 20 {
		t.Errorf("%d POSTs arrived, want 20", posts.Load())
	}
}

// A POST that the endpoint took and did not answer is not repeated; a PUT on a kept connection is.
func TestWhatIsRepeated(t *testing.T) {
	for _, c := range []struct {
		method  string
		arrives int32
		status  string
	}{{"POST", 1, "HTTP/1.1 502 "}, {"PUT", 2, "HTTP/1.1 200 "}} {
		var arrived atomic.Int32
		app := raw(t, func(conn net.Conn, r *bufio.Reader) {
			for head := readHead(r); head != ""; head = readHead(r) {
				if strings.HasPrefix(head, c.method) {
					io.ReadFull(r, make([]byte, 1))
					if arrived.Add(1) == 1 {
						return
					}
				}
				io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
			}
		})
		b := outbound(t, nil)
		b.Apply(plainShop(app))
		_, r := b.say("GET / HTTP/1.1\r\nHost: a\r\n\r\n" + c.method + " / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx")
		readHead(r)
		if head := readHead(r); !strings.HasPrefix(head, c.status) || arrived.Load() != c.arrives {
			t.Errorf("%s: heard %q, arrived %d times", c.method, head, arrived.Load())
		}
	}
}

func reset(c net.Conn) {
	c.(*net.TCPConn).SetLinger(0)
	c.Close()
}

// Callers and endpoints that break off anywhere leave nothing behind, and the next request is served.
func TestResets(t *testing.T) {
	var broken atomic.Bool
	app := raw(t, func(c net.Conn, r *bufio.Reader) {
		for head := readHead(r); head != ""; head = readHead(r) {
			switch {
			case strings.Contains(head, "/before"):
				reset(c)
				return
			case strings.Contains(head, "/head"):
				io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Le")
				reset(c)
				return
			case strings.Contains(head, "/body"):
				io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc")
				time.Sleep(10 * time.Millisecond)
				reset(c)
				return
			case strings.Contains(head, "/chunks"):
				io.WriteString(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
				return
			case strings.Contains(head, "/end"):
				io.WriteString(c, "HTTP/1.1 200 OK\r\n\r\nabc")
				time.Sleep(10 * time.Millisecond)
				reset(c)
				return
			case strings.Contains(head, "/hang"):
				io.Copy(io.Discard, r)
				broken.Store(true)
				return
			}
			io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
		}
	})
	caller, _ := chain(t, app)
	for _, path := range []string{"/before", "/head"} {
		_, r := caller.say("GET " + path + " HTTP/1.1\r\nHost: a\r\n\r\n")
		if head := readHead(r); !strings.HasPrefix(head, "HTTP/1.1 502 ") {
			t.Errorf("%s: heard %q", path, head)
		}
	}
	for _, path := range []string{"/body", "/chunks", "/end"} {
		response, err := caller.client().Get("http://shop.demo" + path)
		if err != nil {
			t.Fatal(err)
		}
		if body, err := io.ReadAll(response.Body); err == nil {
			t.Errorf("%s: the caller took %q for a whole response", path, body)
		}
		response.Body.Close()
	}
	for _, sent := range []string{
		"", "GET / HT", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc",
		"GET /hang HTTP/1.1\r\nHost: a\r\n\r\n", "POST /hang HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc",
		"POST /hang HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
	} {
		for _, how := range []func(net.Conn){reset, func(c net.Conn) { c.Close() }} {
			conn, _ := caller.say(sent)
			time.Sleep(5 * time.Millisecond)
			how(conn)
		}
	}
	eventually(t, "all to end", func() bool { return caller.Active() == 0 })
	if !broken.Load() {
		t.Error("the endpoint was not told that its caller had gone")
	}
	if code, _ := get(t, caller.client(), "/"); code != 200 {
		t.Errorf("afterwards: %d", code)
	}
}

// A caller that has said all that it wants to say still hears the answer, if that is quick: see the janitor.
func TestHalfClosedCaller(t *testing.T) {
	caller, _ := chain(t, says(t, "x"))
	for _, sent := range []string{
		"GET / HTTP/1.1\r\nHost: a\r\n\r\n", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
	} {
		inTime(t, 50*time.Millisecond, func() error { // two of its ticks may be as close as that, if one is late
			conn, r := caller.say(sent)
			conn.(*net.TCPConn).CloseWrite()
			if got := answers(t, r); len(got) == 0 || got[0] != "200 x" {
				return fmt.Errorf("heard %q", got)
			}
			return nil
		})
	}
}

// A response that comes before the body has been sent is passed on, and the connection ends.
func TestEarlyResponse(t *testing.T) {
	heard := make(chan struct{})
	app := raw(t, func(c net.Conn, r *bufio.Reader) {
		readHead(r)
		io.WriteString(c, "HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\nno")
		<-heard // closing with something unread resets the connection, which may overtake the answer
	})
	caller, _ := chain(t, app)
	conn, r := caller.say("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000000\r\n\r\n")
	var sending sync.WaitGroup
	sending.Go(func() {
		piece := bytes.Repeat([]byte("a"), 10000)
		for range 100000 {
			if _, err := conn.Write(piece); err != nil {
				return
			}
		}
	})
	got, _ := answer(r, "POST")
	close(heard)
	if more := answers(t, r); got != "413 no" || len(more) > 0 {
		t.Errorf("heard %q, then %q", got, more)
	}
	conn.Close()
	sending.Wait()
	eventually(t, "the count", func() bool { return caller.Total("code=413") == 1 })
}

func TestBadChunksOnTheirWay(t *testing.T) {
	app := serve(t, func(w http.ResponseWriter, r *http.Request) { io.Copy(io.Discard, r.Body) })
	caller, _ := chain(t, app)
	conn, r := caller.say("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel")
	time.Sleep(10 * time.Millisecond)
	io.WriteString(conn, "lo\r\nGET / HTTP/1.1\r\n\r\n")
	if got := answers(t, r); len(got) != 1 || !strings.HasPrefix(got[0], "400 ") {
		t.Errorf("heard %q, want 400 and the end", got)
	}
}

// Large bodies both ways at once, of every framing, through both engines.
func TestLargeBodiesBothWays(t *testing.T) {
	const size = 3 << 20
	app := serve(t, func(w http.ResponseWriter, r *http.Request) {
		http.NewResponseController(w).EnableFullDuplex()
		if r.ContentLength >= 0 {
			w.Header().Set("Content-Length", fmt.Sprint(r.ContentLength))
		}
		io.Copy(w, r.Body)
	})
	caller, _ := chain(t, app)
	client := caller.client()
	payload := make([]byte, size)
	for i := range payload {
		payload[i] = byte(i * i >> 8)
	}
	var all sync.WaitGroup
	for i := range 6 {
		all.Go(func() {
			var body io.Reader = bytes.NewReader(payload)
			if i%2 == 0 {
				body = io.MultiReader(body) // of no known length: chunked
			}
			response, err := client.Post("http://shop.demo/", "", body)
			if err != nil {
				t.Error(err)
				return
			}
			got, err := io.ReadAll(response.Body)
			response.Body.Close()
			if err != nil || !bytes.Equal(got, payload) {
				t.Errorf("%d bytes came back, %v", len(got), err)
			}
		})
	}
	all.Wait()
}

// A caller that does not read holds the endpoint back, and nobody else.
func TestSlowReader(t *testing.T) {
	app := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Write(make([]byte, 8<<20))
	})
	caller, _ := chain(t, app)
	_, r := caller.say("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
	time.Sleep(600 * time.Millisecond) // longer than the janitor's patience
	response, err := http.ReadResponse(r, nil)
	if err != nil {
		t.Fatal(err)
	}
	n, err := io.Copy(io.Discard, response.Body)
	response.Body.Close()
	if n != 8<<20 || err != nil {
		t.Errorf("%d bytes, %v", n, err)
	}
}

// TLS on both sides: the caller's was ended by whoever accepted, the endpoint's is begun by Dial.
func TestOverTLS(t *testing.T) {
	secure := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.NewResponseController(w).EnableFullDuplex()
		io.Copy(w, r.Body)
	}))
	secure.StartTLS()
	defer secure.Close()
	trusting := &tls.Config{InsecureSkipVerify: true}
	b := outbound(t, func(o *engine.Options) {
		o.Dial = func(ctx context.Context, e *table.Endpoint, alpn string) (net.Conn, error) {
			if alpn != "http/1.1" {
				t.Errorf("asked for %q", alpn)
			}
			return (&tls.Dialer{Config: trusting}).DialContext(ctx, "tcp", e.Address.String())
		}
	})
	b.Apply(plainShop(secure.Listener.Addr().(*net.TCPAddr).AddrPort()))
	l := listen(t, "127.0.0.1:0")
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			serving.Go(func() { b.Serve(tls.Server(conn, secure.TLS), shopAddress) })
		}
	})
	client := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{TLSClientConfig: trusting}}
	for i := range 20 {
		payload := strings.Repeat("b", i*i*1000)
		response, err := client.Post("https://"+l.Addr().String()+"/", "", strings.NewReader(payload))
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(response.Body)
		response.Body.Close()
		if err != nil || string(got) != payload {
			t.Errorf("%d bytes came back as %d, %v", len(payload), len(got), err)
		}
	}
	client.CloseIdleConnections()
	l.Close()
	eventually(t, "the count", func() bool { return b.Total("code=200") == 20 })
	serving.Wait()
}
