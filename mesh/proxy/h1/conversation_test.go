package h1_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// FuzzConversation sends bytes through the engine and compares the requests that reach an application of
// net/http with those that net/http finds in the bytes: there may be fewer, since this engine is stricter, but
// none may be different.
func FuzzConversation(f *testing.F) {
	for _, sent := range []string{
		"GET / HTTP/1.1\r\nHost: a\r\n\r\nGET /b?c HTTP/1.1\r\nHost: b\r\nConnection: close\r\n\r\n",
		"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbodyGET / HTTP/1.1\r\nHost: a\r\n\r\n",
		"PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n4;x=y\r\nbody\r\n0\r\nX: 1\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
		"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
		"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nConnection: Content-Length\r\n\r\nbodyGET / HTTP/1.1\r\nHost: a\r\n\r\n",
		"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nConnection: Transfer-Encoding\r\n\r\n4\r\nbody\r\n0\r\n\r\n",
		"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\nHEAD / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: a\r\nX: 1\nContent-Length: 30\r\n\r\nGET /x HTTP/1.1\r\nHost: a\r\n\r\n",
		"POST / HTTP/1.1\r\nHost: a\r\nContent-Length : 30\r\n\r\nGET /x HTTP/1.1\r\nHost: a\r\n\r\n",
	} {
		f.Add([]byte(sent), uint8(0))
		f.Add([]byte(sent), uint8(5))
	}
	var mu sync.Mutex
	var seen []string
	app := serve(f, func(_ http.ResponseWriter, r *http.Request) {
		said, whole := describe(r)
		if mu.Lock(); whole {
			seen = append(seen, said)
		}
		mu.Unlock()
	})
	b := outbound(f, nil)
	b.Apply(plainShop(app))
	f.Fuzz(func(t *testing.T, sent []byte, cut uint8) {
		if len(sent) > 16<<10 {
			return
		}
		mu.Lock()
		seen = nil
		mu.Unlock()
		conn, err := net.Dial("tcp", b.door)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		conn.SetDeadline(time.Now().Add(10 * time.Second))
		var reading sync.WaitGroup
		reading.Go(func() { io.Copy(io.Discard, conn) })
		for rest := sent; len(rest) > 0; {
			n := len(rest)
			if cut > 0 {
				n = min(n, int(cut)*7)
			}
			if _, err := conn.Write(rest[:n]); err != nil {
				break
			}
			rest = rest[n:]
		}
		conn.(*net.TCPConn).CloseWrite()
		reading.Wait()
		for b.Active() > 0 {
			time.Sleep(time.Millisecond)
		}
		want := parsedByNetHTTP(sent)
		mu.Lock()
		defer mu.Unlock()
		if len(seen) > len(want) || !slices.Equal(seen, want[:len(seen)]) {
			t.Errorf("the application got\n%q\nnet/http finds\n%q", seen, want)
		}
	})
}

// describe says what makes two requests the same.
func describe(r *http.Request) (said string, whole bool) {
	body, err := io.ReadAll(r.Body)
	header := r.Header.Clone()
	for name := range header {
		hop := strings.HasPrefix(strings.ToLower(name), "sluice-")
		for _, value := range r.Header["Connection"] {
			for token := range strings.SplitSeq(value, ",") {
				hop = hop || strings.EqualFold(strings.Trim(token, " \t"), name) && name != "Content-Length"
			}
		}
		switch name {
		case "Connection", "Keep-Alive", "Proxy-Connection", "Upgrade", "Te", "Cache-Control":
			hop = true
		}
		if hop {
			delete(header, name)
		}
	}
	return fmt.Sprintf("%s %s %s %s %q %q %q", r.Method, r.RequestURI, r.Proto, r.Host, header, body, r.Trailer), err == nil
}

func parsedByNetHTTP(sent []byte) (all []string) {
	r := bufio.NewReader(bytes.NewReader(sent))
	for {
		for { // empty lines before a request, which a server should ignore and net/http does not
			if next, err := r.Peek(2); err != nil || string(next) != "\r\n" {
				break
			}
			r.Discard(2)
		}
		request, err := http.ReadRequest(r)
		if err != nil {
			return all
		}
		said, whole := describe(request)
		if !whole {
			return all
		}
		all = append(all, said)
	}
}
