// Package proxytest is what the tests of the proxy and of its engines have in common: pods at loopback addresses
// of their own, a service with revisions, an engine with its configuration, and what has been counted.
package proxytest

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

var hosts atomic.Uint32

// PodHost is an address of loopback of its own, as every pod has its own. Other test programs get others.
func PodHost() string {
	n := hosts.Add(1)
	return fmt.Sprintf("127.%d.%d.%d", 1+os.Getpid()%90, n/250, 1+n%250)
}

// Listen opens a port until the test ends.
func Listen(t testing.TB, address string) *net.TCPListener {
	t.Helper()
	var config net.ListenConfig
	l, err := config.Listen(context.Background(), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l.(*net.TCPListener)
}

// ClosedPort is an address where nothing listens.
func ClosedPort(t testing.TB) netip.AddrPort {
	t.Helper()
	l := Listen(t, PodHost()+":0")
	l.Close()
	return addressOf(l)
}

// Serve runs an HTTP/1.1 application of the standard library.
func Serve(t testing.TB, handler http.HandlerFunc) netip.AddrPort {
	t.Helper()
	s := httptest.NewUnstartedServer(handler)
	s.Listener.Close()
	s.Listener = Listen(t, PodHost()+":0")
	s.Start()
	t.Cleanup(s.Close)
	return addressOf(s.Listener)
}

// Says is an application that answers with its name and what it was sent.
func Says(t testing.TB, name string) netip.AddrPort {
	t.Helper()
	return Serve(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		fmt.Fprint(w, name+string(body))
	})
}

// Raw is a server that answers every connection with what respond writes.
func Raw(t testing.TB, respond func(net.Conn, *bufio.Reader)) netip.AddrPort {
	t.Helper()
	l := Listen(t, PodHost()+":0")
	var open sync.WaitGroup // which nobody waits for: a server may have to be silent for ever
	Accept(l, &open, func(conn net.Conn) {
		defer conn.Close()
		respond(conn, bufio.NewReader(conn))
	})
	return addressOf(l)
}

// ReadHead reads a head of HTTP/1.1, or what there is of it.
func ReadHead(r *bufio.Reader) string {
	var head strings.Builder
	for {
		line, err := r.ReadString('\n')
		head.WriteString(line)
		if err != nil || line == "\r\n" {
			return head.String()
		}
	}
}

// Accept hands each connection to serve, in a goroutine of the group, until the listener closes.
func Accept(l net.Listener, group *sync.WaitGroup, serve func(net.Conn)) {
	group.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			group.Go(func() { serve(conn) })
		}
	})
}

func addressOf(l net.Listener) netip.AddrPort { return l.Addr().(*net.TCPAddr).AddrPort() }
