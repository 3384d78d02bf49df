package client

import (
	"container/list"
	"context"
	"net/netip"

	"github.com/sluice-mesh/sluice/mesh/xds/part"
)

// maxIdle bounds the names that have led nowhere so far: an application that calls addresses outside of the
// mesh, or every address there is, costs no more than that.
const maxIdle = 1024

// names are what we ask the control plane for. Guarded by Client.mu.
type names struct {
	all map[string]*entry
	// called are those of part.ToName, by their address.
	called map[netip.Addr]*entry
	// idle are those that are not answered, or that lead nowhere; the one asked for last comes first.
	idle *list.List
	// streaming: there is a stream, or one is being opened. On it, told are the names that it has been asked
	// for, and changed those of which it has to be told.
	streaming     bool
	told, changed map[string]bool
	wake          chan struct{}
	// online is closed when the open stream is lost; nil while there is none.
	online chan struct{}
}

// entry is a name that we ask for.
type entry struct {
	name    string
	address netip.Addr // of names in called
	// late: somebody has waited for its answer in vain.
	late bool
	// asked: the present stream has been asked for it since the entry was made.
	asked bool
	// answered is closed when the answer is in force, or refused for good, or the name is asked for no more.
	answered chan struct{}
	settled  bool
	// idle is its place among the idle names; nil for those that lead somewhere, and for those that are
	// always asked for.
	idle *list.Element
}

func newNames(pinned []string) *names {
	n := &names{
		all: map[string]*entry{}, called: map[netip.Addr]*entry{}, idle: list.New(),
		changed: map[string]bool{}, wake: make(chan struct{}, 1),
	}
	for _, name := range pinned {
		n.all[name] = &entry{name: name, answered: make(chan struct{})}
	}
	return n
}

// Resolve makes sure that the control plane is asked for what an address leads to, and returns when the
// answer is in force, though it be that the address leads nowhere. It returns at once when the address has
// been answered before, and when there is no stream to the control plane to wait for; and when the context
// ends or the stream is lost. In all these cases it may be called again, and where the context has ended before
// the answer came, it returns at once until there is one: a control plane that is slow is waited for once. Calls for one address at the same
// time share one question.
//
// Of addresses that lead nowhere the 1024 that were asked for last are remembered, and the control plane says
// when one of them comes to lead somewhere.
func (c *Client) Resolve(ctx context.Context, address netip.Addr) {
	answered, online := c.call(address.Unmap())
	if answered == nil || online == nil {
		return
	}
	select {
	case <-answered:
	case <-online:
	case <-ctx.Done():
		c.late(address.Unmap())
	}
}

// late notes that an answer does not come in time, so that nobody waits for it any more.
func (c *Client) late(address netip.Addr) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if found := c.names.called[address]; found != nil {
		found.late = true
	}
}

// call makes sure that an address is asked for. The first channel is nil when it has been answered or is not
// worth waiting for, the second when nobody can answer now.
func (c *Client) call(address netip.Addr) (answered, online chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := c.names
	found := n.called[address]
	if found == nil {
		found = n.add(part.ToName(address), address)
	} else if found.idle != nil {
		n.idle.MoveToFront(found.idle)
	}
	if found.settled || found.late {
		return nil, n.online
	}
	return found.answered, n.online
}

// add makes an entry for an address, at the cost of the idle one that was asked for longest ago.
func (n *names) add(name string, address netip.Addr) *entry {
	made := &entry{name: name, address: address, answered: make(chan struct{})}
	n.all[name], n.called[address] = made, made
	made.idle = n.idle.PushFront(made)
	n.change(name)
	if n.idle.Len() > maxIdle {
		n.remove(n.idle.Back().Value.(*entry))
	}
	return made
}

// remove drops a name, and has the stream told.
func (n *names) remove(found *entry) {
	n.drop(found)
	n.dropped(found.name)
}

// drop ceases to ask for a name; dropped must follow.
func (n *names) drop(dropped *entry) {
	delete(n.all, dropped.name)
	delete(n.called, dropped.address)
	if dropped.idle != nil {
		n.idle.Remove(dropped.idle)
	}
	dropped.settle()
	delete(n.changed, dropped.name)
}

// dropped has the stream told of a name that is not asked for any more, if it was told to ask for it.
func (n *names) dropped(name string) {
	if n.told[name] {
		n.change(name)
	}
}

func (e *entry) settle() {
	if !e.settled {
		e.settled = true
		close(e.answered)
	}
}

// change notes that the stream has to be told of a name.
func (n *names) change(name string) {
	if !n.streaming {
		return
	}
	n.changed[name] = true
	select {
	case n.wake <- struct{}{}:
	default:
	}
}

// answer notes that a name has been answered, and whether it leads somewhere.
func (n *names) answer(found *entry, somewhere bool) {
	switch {
	case somewhere && found.idle != nil:
		n.idle.Remove(found.idle)
		found.idle = nil
	case !somewhere && found.idle == nil && found.address.IsValid():
		found.idle = n.idle.PushFront(found)
		if n.idle.Len() > maxIdle {
			n.remove(n.idle.Back().Value.(*entry))
		}
	}
	found.settle()
}

// begin starts a stream and returns all names, which are its first request.
func (n *names) begin() []string {
	n.streaming, n.told = true, make(map[string]bool, len(n.all))
	clear(n.changed)
	list := make([]string, 0, len(n.all))
	for name, e := range n.all {
		e.asked, e.late, n.told[name] = true, false, true
		list = append(list, name)
	}
	return list
}

// opened notes that the stream is there, lost that there is none any more.
func (n *names) opened() { n.online = make(chan struct{}) }

func (n *names) lost() {
	if n.online != nil {
		close(n.online)
	}
	n.streaming, n.told, n.online = false, nil, nil
	clear(n.changed)
}

// news is what the stream has to be told since it was told last.
func (n *names) news() (subscribe, unsubscribe []string) {
	for name := range n.changed {
		switch e := n.all[name]; {
		case e != nil && !e.asked:
			e.asked, n.told[name] = true, true
			subscribe = append(subscribe, name)
		case e == nil && n.told[name]:
			delete(n.told, name)
			unsubscribe = append(unsubscribe, name)
		}
	}
	clear(n.changed)
	return subscribe, unsubscribe
}

// restore makes a name one that is asked for and has been answered, from a time before.
func (n *names) restore(name string) {
	found := n.all[name]
	if found == nil {
		_, address, _ := part.ParseName(name)
		found = &entry{name: name, address: address, answered: make(chan struct{})}
		n.all[name], n.called[address] = found, found
	}
	found.settle()
}
