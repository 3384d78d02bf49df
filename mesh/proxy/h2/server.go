package h2

import (
	"context"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sluice-mesh/sluice/mesh/proxy/engine"
)

// Server serves HTTP/2 on the connections it is given. It is safe for concurrent use.
type Server struct {
	engine.Options
	inbound  bool
	draining atomic.Bool
	active   atomic.Int64

	mu       sync.Mutex
	conns    map[*downstream]struct{}
	copies   map[*stream]struct{} // what mirrors get
	straight map[netip.AddrPort]*pool
	closed   bool
	over     chan struct{} // ends the janitor
	running  sync.WaitGroup
}

// NewOutbound makes the server of the pod's own requests: each is drawn over its service's split and counted as
// the source's. The pools of the table's endpoints must come from NewPool.
func NewOutbound(o engine.Options) *Server { return newServer(o, false) }

// NewInbound makes the server of requests to the pod: each goes on to the address it was sent to, and is counted
// as the destination's.
func NewInbound(o engine.Options) *Server { return newServer(o, true) }

func newServer(o engine.Options, inbound bool) *Server {
	o.Limits = o.Limits.Complete()
	s := &Server{
		Options: o, inbound: inbound, conns: map[*downstream]struct{}{}, copies: map[*stream]struct{}{},
		straight: map[netip.AddrPort]*pool{}, over: make(chan struct{}),
	}
	s.running.Add(1)
	go s.janitor()
	return s
}

// Serve carries a connection that was going to dst, with the client's preface unread, and returns when it has
// ended and is closed.
func (s *Server) Serve(conn net.Conn, dst netip.AddrPort) {
	d := &downstream{server: s, dst: dst, peer: peerOf(conn)}
	d.link = newLink(conn, true, s.Limits.HeaderBytes, s.Now)
	d.role, d.maxStreams = d, s.Limits.Streams
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		d.close()
		return
	}
	s.conns[d] = struct{}{}
	s.running.Add(1)
	s.mu.Unlock()
	defer s.running.Done()
	d.serve()
	s.mu.Lock()
	delete(s.conns, d)
	s.mu.Unlock()
}

// Drain sends callers away: every connection is told GOAWAY, in two steps so that requests on their way are
// taken, and closed when its streams have ended. New connections are taken, and told so with their first
// request.
func (s *Server) Drain() {
	if s.draining.Swap(true) {
		return
	}
	var b batch
	for _, d := range s.connections() {
		d.sendAway(&b)
	}
	b.flush()
}

// Active is the number of requests in flight.
func (s *Server) Active() int { return int(s.active.Load()) }

// Close ends every connection, and returns when all has ended.
func (s *Server) Close() {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		s.running.Wait()
		return
	}
	s.closed = true
	close(s.over)
	s.mu.Unlock()
	for _, d := range s.connections() {
		d.close()
	}
	s.running.Wait()
	s.endMirrors()
	s.mu.Lock()
	pools := s.straight
	s.straight = nil
	s.mu.Unlock()
	for _, p := range pools {
		p.close()
	}
}

func (s *Server) connections() []*downstream {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]*downstream, 0, len(s.conns))
	for d := range s.conns {
		all = append(all, d)
	}
	return all
}

// enter counts a request in flight, leave takes it off again.
func (s *Server) enter() { s.active.Add(1) }

func (s *Server) leave(x *stream) {
	if x.caller != nil {
		s.active.Add(-1)
		return
	}
	s.mu.Lock()
	delete(s.copies, x)
	s.mu.Unlock()
}

// to returns the pool of an address that there is no choice about.
func (s *Server) to(dst netip.AddrPort) *pool {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.straight[dst]
	if p == nil {
		p = newPool(s.Options, func(ctx context.Context) (net.Conn, error) { return s.DialAddress(ctx, dst) })
		s.straight[dst] = p
	}
	p.used() // or the janitor could take it away before it has a link
	return p
}

// janitor looks after what depends on time but need not be exact.
func (s *Server) janitor() {
	defer s.running.Done()
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	for {
		select {
		case <-s.over:
			return
		case <-ticker.C:
		}
		for _, d := range s.connections() {
			d.tick()
		}
		s.mu.Lock()
		for dst, p := range s.straight {
			if p.unused() {
				delete(s.straight, dst)
			}
		}
		s.mu.Unlock()
	}
}

func peerOf(conn net.Conn) netip.AddrPort {
	if tcp, ok := conn.RemoteAddr().(*net.TCPAddr); ok {
		a := tcp.AddrPort()
		return netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
	}
	return netip.AddrPort{}
}
