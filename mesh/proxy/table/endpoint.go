package table

import (
	"net/netip"
	"reflect"
	"sync"
	"sync/atomic"

	"github.com/sluice-mesh/sluice/mesh/ir"
)

// Pool is what an engine keeps per endpoint, such as idle connections.
type Pool interface {
	// Retire says that no new request will come for now: idle connections close, and those in use when
	// they become idle. It may be called more than once, and a request may still come after it.
	Retire()
}

// Endpoint is one pod's port as one revision of one service. It is the same object in every
// configuration that has it.
type Endpoint struct {
	// Address to dial.
	Address netip.AddrPort
	// Intended is what the request should find there, "<namespace>/<name>;<revision>"; "" when there is
	// nobody to compare it, since it is the pod's own address, where its proxy is not in between.
	Intended string

	// since is when the endpoint joined a service that was known already, in nanoseconds since 1970; 0 for
	// those that the service had when it became known.
	since  int64
	policy atomic.Pointer[ir.Policy]

	// entered and left count requests and connections; the difference is in flight.
	entered, left atomic.Int64
	failures      atomic.Int64
	connections   atomic.Int64

	failing   atomic.Int32 // failures in a row
	ejections atomic.Int64 // times that count for the next one's length
	ejected   atomic.Int64 // until when, in nanoseconds since 1970

	mu       sync.Mutex // serialises the making of pools
	newPools [kinds]func(*Endpoint) Pool
	pools    [kinds]atomic.Pointer[Pool]
}

// Kind of an engine's pool.
type Kind int

// The kinds.
const (
	HTTP1 Kind = iota
	HTTP2
	kinds
)

// PoolFor returns the endpoint's pool of a kind, made at the first call by Compiler.NewPools.
func (e *Endpoint) PoolFor(kind Kind) Pool {
	if p := e.pools[kind].Load(); p != nil {
		return *p
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if p := e.pools[kind].Load(); p != nil {
		return *p
	}
	made := e.newPools[kind](e)
	e.pools[kind].Store(&made)
	return made
}

type endpointKey struct {
	address           netip.AddrPort
	service, revision string
}

// Enter counts a request or connection in flight; Leave takes it off again.
func (e *Endpoint) Enter() { e.entered.Add(1) }

// Leave ends what Enter began.
func (e *Endpoint) Leave() { e.left.Add(1) }

// Active is how many requests and connections are in flight.
func (e *Endpoint) Active() int64 {
	left := e.left.Load() // first, so that the difference is never negative
	return e.entered.Load() - left
}

// Policy in force for the endpoint's service, never nil. It is the same object, and so is its TLS, while it
// means the same: what is made of it can be kept by its address.
func (e *Endpoint) Policy() *ir.Policy { return e.policy.Load() }

// retire retires the pools that have been used.
func (e *Endpoint) retire() {
	for i := range e.pools {
		if pool := e.pools[i].Load(); pool != nil {
			(*pool).Retire()
		}
	}
}

// endpoint takes over or makes an endpoint of a service.
func (b *builder) endpoint(s *service, key endpointKey) *Endpoint {
	if e := s.endpoints[key]; e != nil {
		return e
	}
	e := b.previous.endpoints[key]
	if e == nil {
		e = &Endpoint{Address: key.address, newPools: b.NewPools}
		if key.address.Addr() != b.Self.Unmap() {
			e.Intended = key.service + ";" + key.revision
		}
		if s.known {
			e.since = b.now.UnixNano()
		}
	}
	if old := e.policy.Swap(s.policy); old != nil && !reflect.DeepEqual(old.TLS, s.policy.TLS) {
		b.table.stale = append(b.table.stale, e)
	}
	s.endpoints[key] = e
	return e
}

// Supersede is called once the table is in force in place of the previous one: it retires the pools of
// endpoints that are gone, and of those to which connections are now to be made in another way.
func (t *Table) Supersede(previous *Table) {
	for key, e := range previous.endpoints {
		if t.endpoints[key] == nil {
			e.retire()
		}
	}
	for _, e := range t.stale {
		e.retire()
	}
}

// Close retires all pools.
func (t *Table) Close() {
	for _, e := range t.endpoints {
		e.retire()
	}
}
