package h1

import (
	"time"

	"golang.org/x/sys/unix"

	"github.com/sluice-mesh/sluice/mesh/proxy/rawio"
)

// The janitor is one goroutine of a server that looks after its connections, so that no request pays for
// deadlines that nearly always are cancelled. It is there while there are connections.
const (
	tickTime = 100 * time.Millisecond
	// goneTicks is for how long a connection waits before it is asked whether the caller is still there. Then it
	// is asked every second.
	goneTicks  = 2
	againTicks = 10
	// drainTicks is for how long a connection must have been idle to be closed when the server drains: a
	// request that is on its way then would be lost, and callers that have just been answered are the most
	// likely to send one. (What comes before the close is still served, and a caller whose request meets the
	// close sees its connection end without a byte of a response, which clients repeat.)
	drainTicks = 10
)

// phase of a connection.
type phase uint8

const (
	idle    phase = iota // no request
	inHead               // something of a head has come
	waiting              // for the endpoint, or for the caller to take what it said
	looked               // idle, and asked whether the caller has ended
	pumping              // the caller's body is on its way
	alone                // looks after itself
)

// set notes the phase and when it began.
func (c *conn) set(p phase) {
	c.state.Store(uint64(p)<<32 | uint64(c.server.tick.Load()))
}

func (c *conn) phase() phase { return phase(c.state.Load() >> 32) }

// Why the janitor interrupts a connection that is being read.
const (
	lookAgain uint32 = 1 + iota
	headLate
	idleLong
)

func (s *Server) watch() {
	ticker := time.NewTicker(tickTime)
	defer ticker.Stop()
	var suspects []*conn
	for range ticker.C {
		tick := s.tick.Add(1)
		suspects = suspects[:0]
		s.mu.Lock()
		if len(s.conns) == 0 {
			s.watched = false
			s.mu.Unlock()
			return
		}
		for c := range s.conns {
			if c.due(tick) {
				suspects = append(suspects, c)
			}
		}
		s.mu.Unlock()
		s.tunnels.Cut(time.Now())
		for i, c := range suspects {
			c.look(tick)
			suspects[i] = nil
		}
	}
}

// age is the phase and how many ticks ago it began.
func (c *conn) age(tick uint32) (phase, uint32) {
	state := c.state.Load()
	return phase(state >> 32), tick - uint32(state)
}

// due reports whether a connection is to be looked at.
func (c *conn) due(tick uint32) bool {
	p, age := c.age(tick)
	switch p {
	case waiting, pumping, inHead:
		return age == goneTicks || age > 0 && age%againTicks == 0 || p == inHead && age >= ticks(c.server.Limits.HeaderTime)
	case idle:
		return age >= goneTicks
	case alone:
		return false
	}
	return age >= ticks(c.server.Limits.IdleTime) || c.drains() && age >= drainTicks
}

func (c *conn) drains() bool { return c.server.inbound && c.server.draining.Load() }

// look does what is to be done about a connection.
func (c *conn) look(tick uint32) {
	state := c.state.Load()
	p, age := c.age(tick)
	switch p {
	case waiting, pumping:
		if c.callerGone(p == waiting) {
			c.end(gone)
		}
	case inHead:
		if age >= ticks(c.server.Limits.HeaderTime) {
			c.interrupt(headLate)
		} else if c.callerGone(true) {
			c.interrupt(lookAgain)
		}
	case idle:
		// The clock goes on from when it became idle.
		if c.state.CompareAndSwap(state, uint64(looked)<<32|state&0xffffffff) && c.callerGone(true) {
			c.interrupt(lookAgain)
		}
	case looked:
		c.interrupt(idleLong)
	}
}

// interrupt wakes a connection that is being read, to look at why.
func (c *conn) interrupt(why uint32) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.wake.Store(why)
	_ = c.conn.SetReadDeadline(past)
}

// callerGone reports whether the caller has ended its side: by a reset, or also in order, which while it should
// wait for its response is how clients cancel. (Whoever only has nothing more to say cannot be told from them,
// and is served while the answer is quick.)
func (c *conn) callerGone(inOrder bool) bool {
	tcp := rawio.TCP(c.conn)
	if tcp == nil {
		return false
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return true
	}
	ended, events := false, int16(0) // resets are always told
	if inOrder {
		events = unix.POLLRDHUP
	}
	err = raw.Control(func(fd uintptr) {
		fds := []unix.PollFd{{Fd: int32(fd), Events: events}}
		n, err := unix.Poll(fds, 0)
		ended = err == nil && n > 0
	})
	return ended || err != nil
}

func ticks(d time.Duration) uint32 { return uint32((d + tickTime - 1) / tickTime) }
