package sniff

import (
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

func TestClassify(t *testing.T) {
	for head, want := range map[string]Verdict{
		"":                                 undecided,
		"G":                                undecided,
		"GET":                              undecided,
		"GET ":                             undecided,
		"GET /":                            HTTP1,
		"get /":                            HTTP1,
		"OPTIONS *":                        HTTP1,
		"GET http://shop/":                 HTTP1,
		"M-SEARCH *":                       HTTP1,
		"\r\nGET /":                        HTTP1,
		"PUT /":                            HTTP1,
		"P":                                undecided,
		"PRI * HTTP/2.0\r":                 undecided,
		"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n": Other,
		"PRIVATE /":                        HTTP1,
		"CONNECT shop:443 HTTP/1.1":        Other,
		"\x16\x03\x01":                     Other,
		"SSH-2.0-Go\r\n":                   Other,
		"*1\r\n":                           Other,
		"PING\r\n":                         Other,
		" /":                               Other,
		strings.Repeat("A", 33):            Other,
		"\x00\x00\x00\x00":                 Other,
		"GET \x00":                         Other,
		"{\"jsonrpc\"":                     Other,
	} {
		if got := classify([]byte(head)); got != want {
			t.Errorf("classify(%q) = %d, want %d", head, got, want)
		}
	}
}

func FuzzClassify(f *testing.F) {
	f.Add([]byte("GET / HTTP/1.1\r\n"))
	f.Add([]byte("PRI * HTTP/2.0\r\n\r\n"))
	f.Fuzz(func(t *testing.T, head []byte) {
		verdict := classify(head)
		if len(head) >= 64 && verdict == undecided {
			t.Errorf("undecided after %d bytes", len(head))
		}
		// What is decided stays decided when more comes.
		if verdict != undecided && len(head) > 0 {
			for i := range head {
				if early := classify(head[:i]); early != undecided && early != verdict {
					t.Errorf("%q: %d after %d bytes, %d at last", head, early, i, verdict)
				}
			}
		}
	})
}

func pipe(t *testing.T) (client, served *net.TCPConn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	s, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close(); s.Close() })
	return c.(*net.TCPConn), s.(*net.TCPConn)
}

func TestHeadTakesNothing(t *testing.T) {
	client, served := pipe(t)
	const words = "GET /path HTTP/1.1\r\n\r\n"
	go func() {
		for i := range words { // in pieces, as they may come
			io.WriteString(client, words[i:i+1])
		}
		client.CloseWrite()
	}()
	if verdict, err := Head(served, 10*time.Second, 10*time.Second); err != nil || verdict != HTTP1 {
		t.Fatalf("Head = %v, %v", verdict, err)
	}
	if got, err := io.ReadAll(served); err != nil || string(got) != words {
		t.Errorf("read %q, %v after Head", got, err)
	}
}

func TestHeadOfASilentClient(t *testing.T) {
	_, served := pipe(t)
	if _, err := Head(served, 20*time.Millisecond, time.Second); err == nil {
		t.Error("no error for a client that says nothing")
	}
	client, served := pipe(t)
	client.CloseWrite()
	if verdict, err := Head(served, 10*time.Second, time.Second); err != nil || verdict != Other {
		t.Errorf("Head of a closed connection = %v, %v", verdict, err)
	}
	client, served = pipe(t)
	io.WriteString(client, "GE")
	if verdict, err := Head(served, 10*time.Second, 20*time.Millisecond); err != nil || verdict != HTTP1 {
		t.Errorf("Head of a client that hangs back = %v, %v", verdict, err)
	}
}
