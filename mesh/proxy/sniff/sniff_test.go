package sniff

import (
	"crypto/tls"
	"io"
	"net"
	"slices"
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
		"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n": HTTP2,
		"PRI * HTTP/1.1\r\n":               HTTP1,
		"PRIVATE /":                        HTTP1,
		"CONNECT shop:443 HTTP/1.1":        Other,
		"\x16\x03\x01":                     undecided,
		"\x16\x03\x01\x02\x00\x01":         TLS,
		"\x16\x03\x01\x02\x00\x02":         Other, // a handshake that begins with a ServerHello
		"\x16\x02":                         Other,
		"\x17\x03\x03":                     Other,
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
	if verdict, err := Head(served, 10*time.Second, time.Second); err != nil || verdict != Silent {
		t.Errorf("Head of a closed connection = %v, %v", verdict, err)
	}
	client, served = pipe(t)
	io.WriteString(client, "GE")
	if verdict, err := Head(served, 10*time.Second, 20*time.Millisecond); err != nil || verdict != HTTP1 {
		t.Errorf("Head of a client that hangs back = %v, %v", verdict, err)
	}
}

// The silent side of a protocol is not waited for: the server of one may speak first.
func TestFirst(t *testing.T) {
	for name, c := range map[string]struct {
		act  func(client, server *net.TCPConn)
		want Verdict
	}{
		"client speaks HTTP":   {func(c, _ *net.TCPConn) { io.WriteString(c, "GET / HTTP/1.1\r\n") }, HTTP1},
		"client speaks HTTP/2": {func(c, _ *net.TCPConn) { c.Write(preface) }, HTTP2},
		"client speaks":        {func(c, _ *net.TCPConn) { io.WriteString(c, "*1\r\n") }, Other},
		"client closes":        {func(c, _ *net.TCPConn) { c.CloseWrite() }, Silent},
		"server speaks":        {func(_, s *net.TCPConn) { io.WriteString(s, "220 ready\r\n") }, ServerFirst},
		"server closes":        {func(_, s *net.TCPConn) { s.CloseWrite() }, ServerFirst},
		"server speaks after half a word": {func(c, s *net.TCPConn) {
			io.WriteString(c, "GE")
			time.Sleep(10 * time.Millisecond)
			io.WriteString(s, "220 ready\r\n")
		}, ServerFirst},
	} {
		t.Run(name, func(t *testing.T) {
			client, clientNear := pipe(t)
			server, serverNear := pipe(t)
			go c.act(client, server)
			if got, err := First(clientNear, serverNear, 10*time.Second, 10*time.Second); err != nil || got != c.want {
				t.Fatalf("First = %v, %v; want %v", got, err, c.want)
			}
			// Nothing was taken, and no deadline is left.
			client.CloseWrite()
			server.CloseWrite()
			for _, near := range []*net.TCPConn{clientNear, serverNear} {
				if _, err := io.ReadAll(near); err != nil {
					t.Errorf("read afterwards: %v", err)
				}
			}
		})
	}
	_, clientNear := pipe(t)
	_, serverNear := pipe(t)
	if verdict, err := First(clientNear, serverNear, 20*time.Millisecond, time.Second); err != nil || verdict != Other {
		t.Errorf("First = %v, %v when nobody says anything", verdict, err)
	}
}

func TestHello(t *testing.T) {
	for _, name := range []string{"shop.example", ""} {
		client, near := pipe(t)
		go tls.Client(client, &tls.Config{ServerName: name, InsecureSkipVerify: name == "", NextProtos: []string{"h2"}}).Handshake()
		if verdict, err := Head(near, 10*time.Second, 10*time.Second); err != nil || verdict != TLS {
			t.Fatalf("Head = %v, %v", verdict, err)
		}
		hello, err := Hello(near, 10*time.Second)
		if err != nil || hello.ServerName != name || !slices.Equal(hello.SupportedProtos, []string{"h2"}) {
			t.Errorf("Hello = %+v, %v", hello, err)
		}
		var record [1]byte
		if _, err := io.ReadFull(near, record[:]); err != nil || record[0] != 0x16 {
			t.Errorf("the ClientHello was taken: %x, %v", record, err)
		}
	}
	client, near := pipe(t)
	client.Write([]byte("\x16\x03\x01\x00\x05\x01nonsense of some length"))
	if hello, err := Hello(near, 10*time.Second); err == nil {
		t.Errorf("Hello of nonsense = %+v", hello)
	}
	client, near = pipe(t)
	client.Write([]byte("\x16\x03\x01\x02\x00\x01"))
	if hello, err := Hello(near, 20*time.Millisecond); err == nil {
		t.Errorf("Hello of a client that hangs back = %+v", hello)
	}
}
