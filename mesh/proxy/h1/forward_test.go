package h1_test

import (
	"bufio"
	"crypto/sha256"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"
)

// What the application sees and what the caller sees, byte by byte, through two proxies. It
// differs in nothing but what ends at each hop.
func TestNothingIsAddedOrLost(t *testing.T) {
	heads := make(chan string, 1)
	const response = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Two: a\r\nX-Two: b\r\n\r\nok"
	// It keeps connections alive: one that it closed without a word could meet the next request, and a POST
	// is not sent twice.
	app := raw(t, func(c net.Conn, r *bufio.Reader) {
		for head := readHead(r); head != ""; head = readHead(r) {
			heads <- head
			io.WriteString(c, response)
		}
	})
	caller, _ := chain(t, app)
	for _, c := range []struct{ name, sent, want string }{
		{"odd target", "GET /a%2Fb/{x}//..;p?q=%zz;&&a=1&b HTTP/1.1\r\nHost: Shop.demo:8080\r\n\r\n", ""},
		{"two slashes", "GET //a/b?x HTTP/1.1\r\nHost: shop\r\n\r\n", ""},
		{"absolute target", "GET http://other.example/p?q HTTP/1.1\r\nHost: other.example\r\n\r\n", ""},
		{"asterisk", "OPTIONS * HTTP/1.1\r\nHost: shop\r\n\r\n", ""},
		{"forwarding headers", "GET / HTTP/1.1\r\nHost: shop\r\nForwarded: for=a\r\nX-Forwarded-For: 1.2.3.4, 5.6.7.8\r\n" +
			"X-Forwarded-Host: h\r\nX-Forwarded-Proto: https\r\n\r\n", ""},
		{"trace headers and repetition", "GET / HTTP/1.1\r\nHost: shop\r\nCookie: a=b; c=d\r\nTraceparent: 00-aa-bb-01\r\n" +
			"X-B3-Traceid: 1\r\nX-Two: 1\r\nX-Two: 2\r\n\r\n", ""},
		{"hop by hop", "GET / HTTP/1.1\r\nHost: shop\r\nConnection: keep-alive, X-Hop\r\nKeep-Alive: timeout=5\r\nX-Hop: 1\r\n\r\n",
			"GET / HTTP/1.1\r\nHost: shop\r\n\r\n"},
		{"forged mesh header", "GET / HTTP/1.1\r\nHost: shop\r\nSluice-Intended: demo/shop;evil\r\n\r\n",
			"GET / HTTP/1.1\r\nHost: shop\r\n\r\n"},
		{"body of length 0", "POST / HTTP/1.1\r\nHost: shop\r\nContent-Length: 0\r\n\r\n", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			conn := caller.dial()
			io.WriteString(conn, c.sent)
			want := c.want
			if want == "" {
				want = c.sent
			}
			select {
			case got := <-heads:
				if got != want {
					t.Errorf("application saw\n%q\nwant\n%q", got, want)
				}
			case <-time.After(10 * time.Second):
				t.Fatal("the application saw nothing")
			}
			got := make([]byte, len(response))
			if _, err := io.ReadFull(conn, got); err != nil || string(got) != response {
				t.Errorf("caller saw\n%q, %v\nwant\n%q", got, err, response)
			}
		})
	}
}

func TestChainCountsAtBothEnds(t *testing.T) {
	intended := make(chan string, 1)
	app := serve(t, func(_ http.ResponseWriter, r *http.Request) { intended <- r.Header.Get("Sluice-Intended") })
	caller, called := chain(t, app)
	get(t, caller.client(), "/")
	eventually(t, "both ends to count", func() bool { return caller.Total("code=200") == 1 && called.Total("source=mesh") == 1 })
	if got := <-intended; got != "" {
		t.Errorf("the application saw sluice-intended %q", got)
	}
	if got := caller.Total("reporter=source", "revision=v1", "code=200"); got != 1 {
		t.Errorf("source counts %v, want 1", got)
	}
	if got := called.Total("reporter=destination", "source=mesh", "service=shop", "revision=v1", "weight=", "code=200"); got != 1 {
		t.Errorf("destination counts %v of the mesh, want 1", got)
	}
	get(t, called.client(), "/")
	<-intended
	eventually(t, "the destination to count an outsider", func() bool {
		return called.Total("reporter=destination", "source=unknown", "code=200") == 1
	})
}

func TestStreamsThroughBothProxies(t *testing.T) {
	const size = 8 << 20
	app := serve(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/up": // the body as it comes, its hash and trailer back
			hash := sha256.New()
			n, _ := io.Copy(hash, r.Body)
			fmt.Fprintf(w, "%d %x %s", n, hash.Sum(nil), r.Trailer.Get("X-Sum"))
		case "/down":
			w.Header().Set("Trailer", "X-End")
			buffer := make([]byte, 64<<10)
			for sent := 0; sent < size; sent += len(buffer) {
				w.Write(buffer)
			}
			w.Header().Set("X-End", "reached")
			w.Header().Set(http.TrailerPrefix+"X-Late", "too")
		case "/head":
			w.Header().Set("Content-Length", "12345")
		case "/echo": // each piece back before the next comes
			control := http.NewResponseController(w)
			control.EnableFullDuplex()
			control.Flush()
			buffer := make([]byte, 64)
			for {
				n, err := r.Body.Read(buffer)
				w.Write(buffer[:n])
				control.Flush()
				if err != nil {
					return
				}
			}
		case "/length": // a declared length, in pieces
			w.Header().Set("Content-Length", "6")
			io.WriteString(w, "abc")
			http.NewResponseController(w).Flush()
			<-r.Context().Done()
		}
	})
	caller, _ := chain(t, app)
	client := caller.client()
	url := "http://shop.demo"

	t.Run("large upload, chunked, with trailer", func(t *testing.T) {
		hash := sha256.New()
		request, _ := http.NewRequest("POST", url+"/up", io.TeeReader(io.LimitReader(zeros{}, size), hash))
		request.Trailer = http.Header{"X-Sum": {"carried"}}
		response, err := client.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		got, _ := io.ReadAll(response.Body)
		if want := fmt.Sprintf("%d %x carried", size, hash.Sum(nil)); string(got) != want {
			t.Errorf("got %q, want %q", got, want)
		}
	})
	t.Run("large download with trailers", func(t *testing.T) {
		response, err := client.Get(url + "/down")
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		n, err := io.Copy(io.Discard, response.Body)
		if err != nil || n != size || response.Trailer.Get("X-End") != "reached" || response.Trailer.Get("X-Late") != "too" {
			t.Errorf("%d bytes, %v, trailers %v", n, err, response.Trailer)
		}
	})
	t.Run("HEAD", func(t *testing.T) {
		response, err := client.Head(url + "/head")
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		if response.ContentLength != 12345 {
			t.Errorf("Content-Length %d, want 12345", response.ContentLength)
		}
	})
	t.Run("a conversation in one request", func(t *testing.T) {
		body, say := io.Pipe()
		request, _ := http.NewRequest("POST", url+"/echo", body)
		response, err := client.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		for i := range 5 {
			word := fmt.Sprintf("word %d", i)
			io.WriteString(say, word)
			got := make([]byte, len(word))
			if _, err := io.ReadFull(response.Body, got); err != nil || string(got) != word {
				t.Fatalf("heard %q, %v; want %q before the next is said", got, err, word)
			}
		}
		say.Close()
	})
	t.Run("pieces of a declared length are not held back", func(t *testing.T) {
		response, err := client.Get(url + "/length")
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		if _, err := io.ReadFull(response.Body, make([]byte, 3)); err != nil {
			t.Error(err)
		}
	})
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) { clear(b); return len(b), nil }

func TestExpectContinue(t *testing.T) {
	app := raw(t, func(c net.Conn, r *bufio.Reader) {
		head := readHead(r)
		if !strings.Contains(head, "Expect: 100-continue") {
			fmt.Fprint(c, "HTTP/1.1 500 no expectation\r\nContent-Length: 0\r\n\r\n")
			return
		}
		if strings.Contains(head, "/refuse") {
			fmt.Fprint(c, "HTTP/1.1 413 too large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
			return
		}
		fmt.Fprint(c, "HTTP/1.1 100 Continue\r\n\r\n")
		body := make([]byte, 4)
		io.ReadFull(r, body)
		fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n%s", body)
	})
	caller, _ := chain(t, app)
	t.Run("the body is asked for", func(t *testing.T) {
		conn := caller.dial()
		r := bufio.NewReader(conn)
		fmt.Fprint(conn, "PUT / HTTP/1.1\r\nHost: shop\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n")
		if head := readHead(r); !strings.HasPrefix(head, "HTTP/1.1 100 ") {
			t.Fatalf("heard %q, want 100 before the body is sent", head)
		}
		fmt.Fprint(conn, "body")
		if head := readHead(r); !strings.HasPrefix(head, "HTTP/1.1 200 ") {
			t.Errorf("heard %q, want 200", head)
		}
	})
	t.Run("the body is refused unsent", func(t *testing.T) {
		conn := caller.dial()
		fmt.Fprint(conn, "PUT /refuse HTTP/1.1\r\nHost: shop\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n")
		if head := readHead(bufio.NewReader(conn)); !strings.HasPrefix(head, "HTTP/1.1 413 ") {
			t.Errorf("heard %q, want 413", head)
		}
	})
	eventually(t, "both to count", func() bool { return caller.Total("code=200") == 1 && caller.Total("code=413") == 1 })
}

func TestEarlyHintsPass(t *testing.T) {
	app := raw(t, func(c net.Conn, r *bufio.Reader) {
		readHead(r)
		fmt.Fprint(c, "HTTP/1.1 103 Early Hints\r\nLink: </s.css>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
	})
	caller, _ := chain(t, app)
	conn := caller.dial()
	fmt.Fprint(conn, "GET / HTTP/1.1\r\nHost: shop\r\n\r\n")
	r := bufio.NewReader(conn)
	if hint, final := readHead(r), readHead(r); !strings.Contains(hint, "103") || !strings.Contains(hint, "Link: </s.css>") ||
		final != "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n" {
		t.Errorf("heard %q, then %q", hint, final)
	}
}

func TestRequestsThatSmuggle(t *testing.T) {
	app := serve(t, func(_ http.ResponseWriter, r *http.Request) { t.Errorf("the application got %s %s", r.Method, r.URL) })
	caller, _ := chain(t, app)
	for name, sent := range map[string]string{
		"two lengths":    "POST / HTTP/1.1\r\nHost: shop\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\nbodyG",
		"odd encoding":   "POST / HTTP/1.1\r\nHost: shop\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
		"space in name":  "GET / HTTP/1.1\r\nHost: shop\r\nContent-Length : 4\r\n\r\nbody",
		"huge head":      "GET / HTTP/1.1\r\nHost: shop\r\nX-A: " + strings.Repeat("a", 80<<10) + "\r\n\r\n",
		"no host at all": "GET / HTTP/1.1\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			conn := caller.dial()
			io.WriteString(conn, sent)
			if head := readHead(bufio.NewReader(conn)); !strings.HasPrefix(head, "HTTP/1.1 4") && !strings.HasPrefix(head, "HTTP/1.1 5") {
				t.Errorf("heard %q, want a refusal", head)
			}
		})
	}
}

func TestWebSocket(t *testing.T) {
	app := serve(t, func(w http.ResponseWriter, r *http.Request) {
		var upgrader websocket.Upgrader
		conn, err := upgrader.Upgrade(w, r, nil)
		if err != nil {
			return
		}
		defer conn.Close()
		for {
			kind, message, err := conn.ReadMessage()
			if err != nil {
				return
			}
			conn.WriteMessage(kind, append([]byte("v2 "), message...))
		}
	})
	b := outbound(t, nil)
	ends := revisions{"v1": {says(t, "v1")}, "v2": {app}}
	b.Apply(shop(release(1, 100), ends))
	dialer := websocket.Dialer{NetDial: func(_, _ string) (net.Conn, error) { return net.Dial("tcp", b.door) }}
	conn, _, err := dialer.Dial("ws://shop.demo/chat", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	say := func() error {
		if err := conn.WriteMessage(websocket.TextMessage, []byte("hello")); err != nil {
			return err
		}
		conn.SetReadDeadline(time.Now().Add(10 * time.Second))
		_, answer, err := conn.ReadMessage()
		if err == nil && string(answer) != "v2 hello" {
			err = fmt.Errorf("heard %q", answer)
		}
		return err
	}
	if err := say(); err != nil {
		t.Fatal(err)
	}
	if got := b.Total("revision=v2", "code=101"); got != 1 {
		t.Errorf("code 101 = %v while the connection is open, want 1", got)
	}
	b.Apply(shop(release(2, 0), ends))
	if err := say(); err != nil {
		t.Errorf("cut at once: %v", err)
	}
	b.Table().CloseOverdue(time.Now().Add(time.Hour), time.Minute)
	conn.SetReadDeadline(time.Now().Add(10 * time.Second))
	if _, _, err = conn.ReadMessage(); err == nil {
		t.Error("it outlives the drain of its revision")
	}
	if got := b.Total(); got != 1 {
		t.Errorf("counted %v requests, want 1", got)
	}
	eventually(t, "the end", func() bool { return b.Active() == 0 })
}
