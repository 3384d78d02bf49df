package server

import (
	"maps"
	"slices"
	"sync"
)

// Query asks about one decision of a split.
type Query struct {
	Namespace, Service string
	// Owner and Epoch of the decision. A newer epoch of the same owner answers for an older one.
	Owner string
	Epoch int64
}

// State says which clients, over all replicas, have a decision in force.
type State struct {
	// Converged have acknowledged all that they ask for of the service: our proxies the parts that hold it,
	// others the routes, and the clusters and endpoints of every weighted subset. Waiting have not answered
	// yet. Sorted node ids ("<pod>.<namespace>" of our proxies).
	Converged, Waiting []string
	// Unconcerned are connected and do not ask for the service: there is nothing for them to acknowledge,
	// and what they ask for later they get with the decision. Sorted; nil in a Query without an owner.
	Unconcerned []string
	// Rejected have refused a part of it; by node id, the client's own words.
	Rejected map[string]string
	// Lagging replicas serve without having published this decision, or cannot be heard. Sorted.
	Lagging []string
	// Clamped replicas have published it, but with other shares than its weight asks for, because a
	// revision has no ready endpoint there. Sorted.
	Clamped []string
}

// Live reports whether the decision is in force wherever it can be. It is true of a moment: a client
// that connects later makes it false until that one has acknowledged; latch it per epoch.
func (s State) Live() bool {
	return len(s.Waiting)+len(s.Rejected)+len(s.Lagging)+len(s.Clamped) == 0
}

// Convergence answers from memory, at once.
func (s *Server) Convergence(query Query) State { return s.convergence.state(query, s.options.Replica) }

// Changed returns a channel that is closed at the next change that may change an answer of
// Convergence. Take the channel first, then ask, then wait on it.
func (s *Server) Changed() <-chan struct{} { return s.convergence.change() }

// decision is what a replica publishes of a service's split.
type decision struct {
	Owner   string `json:"owner"`
	Epoch   int64  `json:"epoch"`
	Clamped bool   `json:"clamped,omitempty"`
}

// row is what one stream has in force of one service. Owner and Epoch are those of the newest decision
// that the stream had in force whole; endpoints that change later do not take it back.
type row struct {
	Node     string `json:"node"`
	Instance int64  `json:"instance,omitempty"`
	Owner    string `json:"owner,omitempty"`
	Epoch    int64  `json:"epoch,omitempty"`
	// Rejected is the client's reason, while it refuses what is published.
	Rejected string `json:"rejected,omitempty"`
}

// table is one replica's view: services with a decision, and the streams that subscribe to them. The rows of
// the service named "" say which streams are open at all (connected).
type table struct {
	serving   bool
	decisions map[string]decision
	rows      map[string]map[int64]row
}

// connected stands in place of a service's key in rows.
const connected = ""

func newTable() *table {
	return &table{decisions: map[string]decision{}, rows: map[string]map[int64]row{}}
}

// put stores a row, or removes it when it is nil, and reports whether that changed anything.
func (t *table) put(service string, stream int64, r *row) bool {
	before, had := t.rows[service][stream]
	switch {
	case r == nil && !had, r != nil && had && before == *r:
		return false
	case r == nil:
		delete(t.rows[service], stream)
		if len(t.rows[service]) == 0 {
			delete(t.rows, service)
		}
	default:
		if t.rows[service] == nil {
			t.rows[service] = map[int64]row{}
		}
		t.rows[service][stream] = *r
	}
	return true
}

// decide stores a decision, or removes it when it is nil, and reports whether that changed anything.
func (t *table) decide(service string, d *decision) bool {
	before, had := t.decisions[service]
	switch {
	case d == nil && !had, d != nil && had && before == *d:
		return false
	case d == nil:
		delete(t.decisions, service)
	default:
		t.decisions[service] = *d
	}
	return true
}

// convergence keeps this replica's table and those of the replicas that it follows. Its lock is taken
// within the server's, never the other way around.
type convergence struct {
	mu      sync.Mutex
	local   *table
	peers   map[string]*peer
	feeds   map[*feed]bool
	changed chan struct{}
}

// peer is a replica that we follow; its table is nil while it cannot be heard.
type peer struct{ table *table }

func newConvergence() *convergence {
	return &convergence{local: newTable(), peers: map[string]*peer{}, feeds: map[*feed]bool{}, changed: make(chan struct{})}
}

func (c *convergence) change() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.changed
}

// wake tells who waits on Changed. The caller holds mu.
func (c *convergence) wake() {
	close(c.changed)
	c.changed = make(chan struct{})
}

// serve notes that clients are let in.
func (c *convergence) serve() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.local.serving = true
	for feed := range c.feeds {
		feed.poke()
	}
	c.wake()
}

// publish notes what is published of a service; nil when it is gone.
func (c *convergence) publish(key string, published *service) {
	var decided *decision
	if published != nil && published.meaning.Split.Owner != "" {
		split := published.meaning.Split
		decided = &decision{split.Owner, split.Epoch, split.Clamped()}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.local.decide(key, decided) {
		c.note(entry{service: key})
	}
}

// put notes what a stream has in force of a service; nil when it does not subscribe.
func (c *convergence) put(key string, stream int64, r *row) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.local.put(key, stream, r) {
		c.note(entry{service: key, stream: stream})
	}
}

// forget a stream that ended.
func (c *convergence) forget(stream int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for key := range c.local.rows {
		if c.local.put(key, stream, nil) {
			c.note(entry{service: key, stream: stream})
		}
	}
}

// row as it is stored; zero when there is none.
func (c *convergence) row(key string, stream int64) row {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.local.rows[key][stream]
}

// decided lists the services with a decision.
func (c *convergence) decided() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Collect(maps.Keys(c.local.decisions))
}

// note that an entry changed. The caller holds mu.
func (c *convergence) note(changed entry) {
	for feed := range c.feeds {
		feed.add(changed)
	}
	c.wake()
}

func (c *convergence) state(query Query, self string) State {
	c.mu.Lock()
	defer c.mu.Unlock()
	state := State{Rejected: map[string]string{}}
	key := query.Namespace + "/" + query.Service
	clients := map[string]client{}
	ask := func(replica string, t *table) {
		if t != nil && !t.serving {
			return
		}
		if t == nil {
			state.Lagging = append(state.Lagging, replica)
			return
		}
		switch published, found := t.decisions[key]; {
		case !found || published.Owner != query.Owner || published.Epoch < query.Epoch:
			state.Lagging = append(state.Lagging, replica)
		case published.Clamped:
			state.Clamped = append(state.Clamped, replica)
		}
		for _, r := range t.rows[key] {
			clients[r.Node] = clients[r.Node].with(r, query)
		}
	}
	ask(self, c.local)
	for name, peer := range c.peers {
		ask(name, peer.table)
	}
	if query.Owner != "" {
		state.Unconcerned = c.unconcerned(clients)
	}
	for node, client := range clients {
		switch {
		case client.converged:
			state.Converged = append(state.Converged, node)
		case client.rejected != "":
			state.Rejected[node] = client.rejected
		default:
			state.Waiting = append(state.Waiting, node)
		}
	}
	slices.Sort(state.Converged)
	slices.Sort(state.Waiting)
	slices.Sort(state.Lagging)
	slices.Sort(state.Clamped)
	return state
}

// unconcerned lists the nodes that are connected and not among the clients, sorted. A client that has started
// anew since, and does not ask for the service now, is taken from the clients.
func (c *convergence) unconcerned(clients map[string]client) []string {
	found := map[string]bool{}
	look := func(t *table) {
		for _, r := range t.rows[connected] {
			asking, known := clients[r.Node]
			if !known || r.Instance > asking.instance {
				delete(clients, r.Node)
				found[r.Node] = true
			}
		}
	}
	look(c.local)
	for _, peer := range c.peers {
		if peer.table != nil {
			look(peer.table)
		}
	}
	return slices.Sorted(maps.Keys(found))
}

// client merges the streams of one node. Ours say which start of the process they are (their instance):
// only the newest counts, and what it has acknowledged on one stream it has in force, even while a dead
// stream of it lingers elsewhere. Others may share one id between processes: all of them must have it.
type client struct {
	known     bool
	instance  int64
	converged bool
	rejected  string
}

func (c client) with(r row, query Query) client {
	one := client{
		known:     true,
		instance:  r.Instance,
		converged: r.Owner == query.Owner && r.Epoch >= query.Epoch,
		rejected:  r.Rejected,
	}
	switch {
	case !c.known || r.Instance > c.instance:
		return one
	case r.Instance < c.instance:
		return c
	case r.Instance != 0:
		c.converged = c.converged || one.converged
	default:
		c.converged = c.converged && one.converged
	}
	if c.rejected == "" {
		c.rejected = one.rejected
	}
	return c
}
