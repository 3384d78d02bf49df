package proxy

import (
	"net/netip"
	"slices"
	"sync"
)

// called knows the addresses that connections of the application are open to. What they lead to is kept, though
// nothing may have been asked on them for long: the next request is to be drawn like those before it.
type called struct {
	mu   sync.Mutex
	open map[netip.Addr]int
}

// enter counts a connection to an address; leave must follow.
func (c *called) enter(address netip.Addr) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.open == nil {
		c.open = map[netip.Addr]int{}
	}
	c.open[address]++
}

// leave ends what enter began.
func (c *called) leave(address netip.Addr) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.open[address]--; c.open[address] == 0 {
		delete(c.open, address)
	}
}

// release releases those of the addresses that no connection is open to. One that comes meanwhile waits, so
// that it does not rely on what is being taken away.
func (c *called) release(addresses []netip.Addr, release func(...netip.Addr)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	addresses = slices.DeleteFunc(addresses, func(address netip.Addr) bool { return c.open[address] > 0 })
	if len(addresses) > 0 {
		release(addresses...)
	}
}
