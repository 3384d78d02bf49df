// Command reverseproxy is the standard library's proxy, httputil.ReverseProxy, as a careful program would use
// it: connections to the backend are kept, buffers are reused, nothing is logged or compressed.
package main

import (
	"crypto/tls"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"sync"
	"time"
)

// config says what to serve.
type config struct {
	Certificate, Key string
	Servers          []server
}

// server is one address, the backend behind it, and what is spoken on both sides.
type server struct {
	Listen, Backend string
	HTTP2, TLS      bool
}

func main() {
	path := flag.String("config", "", "file that says what to serve, as JSON")
	flag.Parse()
	if err := run(*path); err != nil {
		fmt.Fprintln(os.Stderr, "reverseproxy:", err)
		os.Exit(1)
	}
}

func run(path string) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("read configuration: %w", err)
	}
	var c config
	if err := json.Unmarshal(text, &c); err != nil {
		return fmt.Errorf("read configuration: %w", err)
	}
	ended := make(chan error, len(c.Servers))
	for _, s := range c.Servers {
		go func() { ended <- s.serve(c.Certificate, c.Key) }()
	}
	return <-ended // the first that ends ends the program
}

func (s server) serve(certificate, key string) error {
	var front, back http.Protocols
	front.SetHTTP1(!s.HTTP2)
	front.SetHTTP2(s.HTTP2)
	front.SetUnencryptedHTTP2(s.HTTP2)
	back.SetHTTP1(!s.HTTP2)
	back.SetUnencryptedHTTP2(s.HTTP2)
	proxy := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(&url.URL{Scheme: "http", Host: s.Backend})
			r.Out.Host = r.In.Host
		},
		Transport: &http.Transport{
			Protocols: &back, DisableCompression: true,
			MaxIdleConns: 4096, MaxIdleConnsPerHost: 4096, IdleConnTimeout: time.Hour,
		},
		BufferPool: &buffers{},
		ErrorLog:   log.New(io.Discard, "", 0),
	}
	server := &http.Server{
		Addr: s.Listen, Handler: proxy, Protocols: &front, ErrorLog: log.New(io.Discard, "", 0),
		ReadHeaderTimeout: time.Minute, TLSConfig: &tls.Config{MinVersion: tls.VersionTLS13},
	}
	var err error
	if s.TLS {
		err = server.ListenAndServeTLS(certificate, key)
	} else {
		err = server.ListenAndServe()
	}
	return errors.Join(fmt.Errorf("serve %s", s.Listen), err)
}

// buffers are reused between responses.
type buffers struct{ pool sync.Pool }

func (b *buffers) Get() []byte {
	if kept, _ := b.pool.Get().(*[]byte); kept != nil {
		return *kept
	}
	return make([]byte, 32<<10)
}

func (b *buffers) Put(buffer []byte) { b.pool.Put(&buffer) }
