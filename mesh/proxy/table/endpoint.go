package table

import (
	"net/netip"
	"sync"
	"sync/atomic"
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

	active  atomic.Int64
	newPool func(netip.AddrPort) Pool
	mu      sync.Mutex
	pool    Pool

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
func (e *Endpoint) Enter() { e.active.Add(1) }

// Leave ends what Enter began.
func (e *Endpoint) Leave() { e.active.Add(-1) }

// Pool returns the endpoint's pool, made at the first call.
func (e *Endpoint) Pool() Pool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.pool == nil && e.newPool != nil {
		e.pool = e.newPool(e.Address)
	}
	return e.pool
}

// opened returns the pool if it has been used.
func (e *Endpoint) opened() Pool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.pool
}

func (b *builder) endpoint(key endpointKey) *Endpoint {
	if e := b.table.endpoints[key]; e != nil {
		return e
	}
	e := b.previous.endpoints[key]
	if e == nil {
		e = &Endpoint{Address: key.address, newPool: b.NewPool, newPools: b.NewPools}
		if key.address.Addr() != b.Self.Unmap() {
			e.Intended = key.service + ";" + key.revision
		}
	}
	b.table.endpoints[key] = e
	return e
}

// Supersede is called once the table is in force in place of the previous one: it retires the pools of
// endpoints that are gone.
func (t *Table) Supersede(previous *Table) {
	for key, e := range previous.endpoints {
		if t.endpoints[key] == nil {
			if pool := e.opened(); pool != nil {
				pool.Retire()
			}
		}
	}
}

// Close retires all pools.
func (t *Table) Close() {
	for _, e := range t.endpoints {
		if pool := e.opened(); pool != nil {
			pool.Retire()
		}
	}
}
