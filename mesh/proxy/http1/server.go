// Package http1 is the proxy's HTTP/1.1 engine: it parses requests on connections it is given, has each
// one drawn and counted, and carries it to an endpoint. It knows the compiled configuration and nothing of
// how connections are accepted or captured.
//
// This first engine is the standard library's: net/http's server and transport with ReverseProxy between.
// What the rest of the proxy relies on is Server alone (Serve, Drain, Active, Close), so that another
// engine can take its place.
//
// What goes through is changed as little as that engine allows: request target, Host and header values
// are kept byte by byte and forwarding headers are neither added nor dropped; names are canonicalised and
// hop-by-hop headers end here, as RFC 9110 wants. Bodies stream in both directions, none is held back.
//
// Two headers belong to the mesh and never leave it:
//
//	sluice-intended     on requests to endpoints: "<namespace>/<name>;<revision>" that the caller drew. The
//	                    called pod's proxy takes it off and answers 421 when the pod is another revision,
//	                    since an address may have passed to another pod.
//	sluice-unprocessed  on the answers of a called pod's proxy that did not hand the request to the
//	                    application: the caller's proxy may try another endpoint.
package http1

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Limits bound what a client may ask of a Server. The zero value of a field means its default.
type Limits struct {
	// HeaderBytes bounds a request's head; 64 KiB by default. Beyond it the answer is 431.
	HeaderBytes int
	// HeaderTime bounds the time from a head's first byte to its end; 60 s by default.
	HeaderTime time.Duration
	// IdleTime closes a connection without a request; one hour by default, so that clients, whose own
	// limits are shorter, are the ones to close: a proxy that closes first breaks a request now and then.
	IdleTime time.Duration
}

// Server serves HTTP/1.x on the connections it is given. It is safe for concurrent use.
type Server struct {
	http     *http.Server
	handoff  *handoff
	draining *atomic.Bool
	active   atomic.Int64
	closing  atomic.Bool
	idle     chan struct{} // holds a token once the last request has ended while closing
	cancel   context.CancelFunc
	retire   func()
	done     chan struct{}

	mu    sync.Mutex
	conns map[*conn]struct{} // those that are open, upgraded ones included
}

type destinationKey struct{}

// conn is a connection with its original destination.
type conn struct {
	*net.TCPConn
	dst     netip.AddrPort
	release func()
	once    sync.Once
	server  *Server
}

func (c *conn) Close() error {
	c.once.Do(func() {
		c.server.forget(c)
		c.release()
	})
	return c.TCPConn.Close()
}

func newServer(handler http.Handler, draining *atomic.Bool, retire func(), o Options) *Server {
	limits, logger := o.Limits, o.Logger
	ctx, cancel := context.WithCancel(context.Background())
	s := &Server{
		handoff:  &handoff{conns: make(chan net.Conn), closed: make(chan struct{})},
		draining: draining,
		idle:     make(chan struct{}, 1),
		cancel:   cancel,
		retire:   retire,
		done:     make(chan struct{}),
		conns:    map[*conn]struct{}{},
	}
	s.http = &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			s.active.Add(1)
			defer s.leave()
			handler.ServeHTTP(w, r)
		}),
		DisableGeneralOptionsHandler: true,
		MaxHeaderBytes:               cmp.Or(limits.HeaderBytes, 64<<10),
		ReadHeaderTimeout:            cmp.Or(limits.HeaderTime, 60*time.Second),
		IdleTimeout:                  cmp.Or(limits.IdleTime, time.Hour),
		ErrorLog:                     slog.NewLogLogger(logger.Handler(), slog.LevelDebug),
		BaseContext:                  func(net.Listener) context.Context { return ctx },
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			return context.WithValue(ctx, destinationKey{}, c.(*conn).dst)
		},
	}
	go func() {
		defer close(s.done)
		if err := s.http.Serve(s.handoff); !errors.Is(err, http.ErrServerClosed) {
			logger.Error("HTTP engine ended", "error", err)
		}
	}()
	return s
}

// Serve takes over a connection that was going to dst and returns at once. Release is called when the
// connection has ended.
func (s *Server) Serve(c *net.TCPConn, dst netip.AddrPort, release func()) {
	taken := &conn{TCPConn: c, dst: dst, release: release, server: s}
	s.mu.Lock()
	s.conns[taken] = struct{}{}
	s.mu.Unlock()
	s.handoff.give(taken)
}

func (s *Server) forget(c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, c)
}

// Drain lets every response from now on be the last of its connection. Connections and requests are
// still taken.
func (s *Server) Drain() { s.draining.Store(true) }

// Active is the number of requests in flight, upgraded connections included.
func (s *Server) Active() int { return int(s.active.Load()) }

// Close ends every connection, and returns when all requests have ended.
func (s *Server) Close() {
	s.cancel()
	_ = s.http.Close()
	<-s.done
	s.mu.Lock()
	open := slices.Collect(maps.Keys(s.conns)) // upgraded ones, which net/http no longer knows
	s.mu.Unlock()
	for _, c := range open {
		_ = c.Close()
	}
	s.closing.Store(true)
	for s.active.Load() > 0 {
		<-s.idle
	}
	s.retire()
}

func (s *Server) leave() {
	if s.active.Add(-1) == 0 && s.closing.Load() {
		select {
		case s.idle <- struct{}{}:
		default:
		}
	}
}

// handoff is a listener whose connections are handed to it.
type handoff struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func (h *handoff) give(c net.Conn) {
	select {
	case h.conns <- c:
	case <-h.closed:
		_ = c.Close()
	}
}

func (h *handoff) Accept() (net.Conn, error) {
	select {
	case c := <-h.conns:
		return c, nil
	case <-h.closed:
		return nil, net.ErrClosed
	}
}

func (h *handoff) Close() error {
	h.once.Do(func() { close(h.closed) })
	return nil
}

func (h *handoff) Addr() net.Addr { return &net.TCPAddr{} }
