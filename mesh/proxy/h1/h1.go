// Package h1 is the proxy's HTTP/1.1 engine: it parses requests on connections it is given, has each one
// planned by the compiled configuration, and carries it to an endpoint. It knows nothing of how connections
// are accepted or captured.
//
// One goroutine drives a caller's connection and the exchange with the endpoint. A request that has come
// whole, and its response, cost four system calls for data (receive, send, receive, send) and one that asks
// whether the endpoint's kept connection is still good. Heads are parsed in place, and buffers are lent to
// connections while there is something in them. Deadlines are set only where a rule asks for them; what
// else must not last for ever is watched by the Server's janitor.
//
// What goes through is changed as little as can be: the request target and all header fields are kept byte
// by byte and in their order, apart from those that end at each hop, the mesh's own (sluice-*), and what
// the rules change. Bodies stream in both directions and go on as they came once their framing is known
// to be good.
//
// Messages that two servers might understand differently are refused: requests with 400 (or 431, 501, 505),
// responses with 502. See head.go, request.go and body.go.
package h1

import (
	"context"
	"net"
	"net/netip"
	"runtime/debug"
	"sync"
	"sync/atomic"

	"github.com/sluice-mesh/sluice/mesh/proxy/engine"
	"github.com/sluice-mesh/sluice/mesh/proxy/rawio"
	"github.com/sluice-mesh/sluice/mesh/proxy/relay"
	"github.com/sluice-mesh/sluice/mesh/proxy/table"
)

// Server serves HTTP/1.x on the connections it is given. It is safe for concurrent use.
type Server struct {
	engine.Options
	inbound  bool
	draining atomic.Bool
	mirrors  atomic.Int64
	running  sync.WaitGroup // connections, copies of requests, the janitor
	tunnels  relay.Idlers
	life     context.Context // of copies, which nobody waits for
	die      context.CancelFunc

	mu      sync.Mutex
	closed  bool
	watched bool // the janitor is there
	conns   map[*conn]struct{}
	direct  map[netip.AddrPort]*pool
	tick    atomic.Uint32 // of the janitor

	_      [64]byte // what every request changes is kept off the cache line that every request reads
	active atomic.Int64
}

// NewOutbound makes the server of the pod's own requests: each is planned by its service's routes and split,
// and counted as the source's. The pools of the table's endpoints must come from NewPool.
func NewOutbound(o engine.Options) *Server { return newServer(o, false) }

// NewInbound makes the server of requests to the pod: each goes on to the address it was sent to, and is
// counted as the destination's.
func NewInbound(o engine.Options) *Server { return newServer(o, true) }

func newServer(o engine.Options, inbound bool) *Server {
	o.Limits = o.Limits.Complete()
	s := &Server{
		Options: o, inbound: inbound,
		conns: map[*conn]struct{}{}, direct: map[netip.AddrPort]*pool{},
	}
	s.life, s.die = context.WithCancel(context.Background())
	return s
}

// Serve carries a connection that was going to dst, a *net.TCPConn or a *tls.Conn, and returns when it has
// ended and is closed, after an upgrade too.
func (s *Server) Serve(nc net.Conn, dst netip.AddrPort) {
	c := &conn{server: s, dst: dst}
	if err := c.init(nc, smallBuffer, 0); err != nil || !s.enter(c) {
		_ = nc.Close()
		return
	}
	defer s.running.Done()
	if addr, ok := nc.RemoteAddr().(*net.TCPAddr); ok {
		c.peer = netip.AddrPortFrom(addr.AddrPort().Addr().Unmap(), uint16(addr.Port))
	}
	defer s.leave(c)
	c.run()
}

// leave closes a connection. A fault of ours ends the connection that it happened on, and not the proxy.
func (s *Server) leave(c *conn) {
	fault := recover()
	if fault != nil {
		s.Logger.Error("connection ended by a fault of the proxy", "to", c.dst, "fault", fault, "stack", string(debug.Stack()))
		c.abort = true
	}
	c.set(alone)
	switch {
	case c.abort:
		rawio.Reset(c.conn)
	case c.linger:
		c.lingeringClose()
	}
	_ = c.conn.Close()
	if fault == nil { // or the pump may still use the buffer
		c.drop()
	}
	s.mu.Lock()
	delete(s.conns, c)
	s.mu.Unlock()
	if c.pool != nil {
		s.leavePool(c.pool)
	}
}

func (s *Server) enter(c *conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	s.running.Add(1)
	c.set(idle)
	s.conns[c] = struct{}{}
	if !s.watched {
		s.watched = true
		s.running.Go(s.watch)
	}
	return true
}

// Drain lets every response from now on be the last of its connection, and closes inbound connections
// that have been idle for a while (see janitor). Connections and requests are still taken.
func (s *Server) Drain() { s.draining.Store(true) }

// Active is the number of requests in flight, upgraded connections included.
func (s *Server) Active() int { return int(s.active.Load()) }

// Close ends every connection, and returns when all have ended.
func (s *Server) Close() {
	s.die()
	s.mu.Lock()
	s.closed = true
	for c := range s.conns {
		c.end(killed)
	}
	direct := s.direct
	s.direct = nil
	s.mu.Unlock()
	s.running.Wait()
	for _, p := range direct {
		p.Retire()
	}
}

// enterPool returns the pool for an address that is no endpoint of the mesh; leavePool must follow.
func (s *Server) enterPool(to netip.AddrPort) *pool {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.direct[to]
	if p == nil {
		p = newPool(s.Options, nil, to)
		if s.direct != nil {
			s.direct[to] = p
		}
	}
	p.users++
	return p
}

func (s *Server) leavePool(p *pool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p.users--
	if s.direct[p.to] != p {
		p.Retire()
	} else if p.users == 0 && len(s.direct) > maxDirect {
		delete(s.direct, p.to)
		p.Retire()
	}
}

// maxDirect is how many addresses outside the mesh connections are kept to once nobody uses them.
const maxDirect = 64

// NewPool returns what makes the pools of endpoints for Outbound.
func NewPool(o engine.Options) func(*table.Endpoint) table.Pool {
	return func(e *table.Endpoint) table.Pool { return newPool(o, e, e.Address) }
}
