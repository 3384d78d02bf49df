package rawio

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http/httptest"
	"testing"
	"time"
)

// A reset is no orderly end, below TLS either, and the connection is known to be closed.
func TestReset(t *testing.T) {
	authority := httptest.NewUnstartedServer(nil)
	authority.StartTLS()
	defer authority.Close()
	for name, secure := range map[string]bool{"TCP": false, "TLS": true} {
		t.Run(name, func(t *testing.T) {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			far, err := net.Dial("tcp", l.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer far.Close()
			near, err := l.Accept()
			if err != nil {
				t.Fatal(err)
			}
			defer near.Close()
			far.SetDeadline(time.Now().Add(20 * time.Second))
			below := near
			if secure {
				far = tls.Client(far, &tls.Config{InsecureSkipVerify: true})
				near = tls.Server(near, &tls.Config{Certificates: authority.TLS.Certificates})
			}
			go io.WriteString(near, "x")
			if _, err := io.ReadFull(far, make([]byte, 1)); err != nil {
				t.Fatal(err)
			}
			if TCP(near) != below || Info(near) == nil || Info(near).State == StateClosed {
				t.Errorf("TCP %v, state %+v while it is open", TCP(near), Info(near))
			}
			Reset(near)
			if _, err := far.Read(make([]byte, 1)); err == nil || errors.Is(err, io.EOF) {
				t.Errorf("the other side saw %v", err)
			}
			if Info(near) != nil {
				t.Error("it is open afterwards")
			}
		})
	}
	if near, far := net.Pipe(); TCP(near) != nil || Info(far) != nil {
		t.Error("a pipe is taken for TCP")
	}
}
