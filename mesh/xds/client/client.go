// Package client is how our own proxy learns the parts of the mesh that it has to do with: delta xDS over
// one stream to any replica of the control plane, for a type of our own (package part). It asks for what the
// proxy itself needs, and for addresses as they are called. It acknowledges only what its consumer has put in
// force, keeps what is in force while the control plane is away or talks nonsense, and over restarts in a
// file. It knows neither what the mesh is used for nor Kubernetes, and links neither gRPC nor Envoy's types,
// which would cost every pod several megabytes.
package client

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/sluice-mesh/sluice/mesh/ir"
	"github.com/sluice-mesh/sluice/mesh/xds/part"
)

// Consumer acts on the mesh.
type Consumer interface {
	// Apply puts the mesh in force and returns when it is: an acknowledgement is sent after it. An error
	// is sent to the control plane as the reason of a rejection, and the mesh in force must have stayed
	// the one before. Calls come one after another. The mesh must not be modified.
	Apply(ir.Mesh) error
}

// Node says who we are.
type Node struct {
	// ID is "<pod>.<namespace>": what status names as lagging.
	ID string
	// Cluster is the source, as metrics label it.
	Cluster string
	// Metadata: pod_uid, revision, version and the like. "agent" and "instance" are set by the client.
	Metadata map[string]string
}

// agent is how our own proxies name themselves.
const agent = "sluice-proxy"

// Options of a Client. Address, Node.ID and Consumer are required.
type Options struct {
	// Address of the control plane, host:port.
	Address string
	Node    Node
	// Self is the pod's own address: the services behind which it stands are asked for from the start. The
	// zero Addr asks for none.
	Self netip.Addr
	// Consumer of the mesh.
	Consumer Consumer
	// Store keeps the last good configuration over restarts; nil: nothing is kept.
	Store *Store
	// TLS secures the connection; nil is plaintext.
	TLS *tls.Config
	// Logger; nil is slog.Default().
	Logger *slog.Logger
	// Now is the clock; nil is time.Now. The time of New tells this start of the process from others.
	Now func() time.Time
}

// Client keeps the consumer's mesh that of the control plane, as far as it has been asked for. Its methods
// but Run may be called from any goroutine.
type Client struct {
	options Options
	log     *slog.Logger
	node    node
	// pinned are the names that are always asked for.
	pinned []string
	saves  chan struct{}

	// applying guards held and orders the calls of Apply. It is taken before mu, never with mu held.
	applying sync.Mutex
	held     *held

	// mu guards names and status, for moments.
	mu     sync.Mutex
	names  *names
	status Status
}

// Status is what the client can say of itself.
type Status struct {
	// Connected: a stream to the control plane is open.
	Connected bool
	// Configured: a mesh has been applied, from the control plane or from the store.
	Configured bool
	// Rejected is why the newest answer was refused; empty when it was not. Rejections counts all that
	// were, since the start.
	Rejected   string
	Rejections uint64
	// Names are asked for, of which Idle lead nowhere or are not answered yet; Services are in force.
	Names, Idle, Services int
}

// New makes a client; nothing happens before Run.
func New(options Options) (*Client, error) {
	if options.Address == "" || options.Node.ID == "" || options.Consumer == nil {
		return nil, errors.New("make xds client: an address, a node id and a consumer are required")
	}
	if options.Logger == nil {
		options.Logger = slog.Default()
	}
	if options.Now == nil {
		options.Now = time.Now
	}
	pinned := []string{part.Settings}
	if options.Self.IsValid() {
		pinned = append(pinned, part.AtName(options.Self))
	}
	metadata := map[string]string{}
	maps.Copy(metadata, options.Node.Metadata)
	metadata["agent"] = agent
	metadata["instance"] = strconv.FormatInt(options.Now().UnixNano(), 10)
	return &Client{
		options: options,
		log:     options.Logger,
		node:    node{id: options.Node.ID, cluster: options.Node.Cluster, agent: agent, metadata: metadata},
		pinned:  pinned,
		saves:   make(chan struct{}, 1),
		held:    &held{parts: map[string]*holding{}},
		names:   newNames(pinned),
	}, nil
}

// Run applies the stored configuration, if there is one, then connects and follows the control plane,
// connecting again with jittered back-off, until the context ends, whose error it returns. While the control
// plane is away what was applied last stays. It must be called once.
func (c *Client) Run(ctx context.Context) error {
	c.restore()
	var saving sync.WaitGroup
	if c.options.Store != nil {
		saving.Go(func() { c.save(ctx) })
	}
	err := c.follow(ctx)
	saving.Wait()
	return err
}

// Status is of the moment.
func (c *Client) Status() Status {
	c.mu.Lock()
	defer c.mu.Unlock()
	status := c.status
	status.Connected = c.names.online != nil
	status.Names, status.Idle = len(c.names.all), c.names.idle.Len()
	return status
}

// Release asks no more for what these addresses lead to. Services that nothing else leads to are taken from
// the mesh, by a call of Apply before it returns: it must not be called from within Apply, nor with a lock
// held that Apply takes. Addresses that are not asked for are passed over.
func (c *Client) Release(addresses ...netip.Addr) {
	c.applying.Lock()
	defer c.applying.Unlock()
	changes := map[string]*holding{}
	c.mu.Lock()
	for _, address := range addresses {
		if found := c.names.called[address.Unmap()]; found != nil {
			changes[found.name] = nil
			c.names.drop(found)
		}
	}
	c.mu.Unlock()
	c.forget(changes)
	// Who has said that it asks no more is not waited for any more, and must not act by it then.
	c.mu.Lock()
	defer c.mu.Unlock()
	for name := range changes {
		c.names.dropped(name)
	}
}

// forget drops parts that are asked for no more. The caller holds applying.
func (c *Client) forget(changes map[string]*holding) {
	if len(changes) == 0 {
		return
	}
	err := c.held.put(changes, false, c.options.Consumer)
	if err != nil {
		// What is left of them goes with the next change that the consumer accepts.
		maps.DeleteFunc(c.held.parts, func(name string, _ *holding) bool { _, gone := changes[name]; return gone })
		c.log.Warn("keep services that are not used any more", "error", err)
	}
	c.settled(func(s *Status) {})
}

// settled notes what is in force now, asks for it to be saved, and makes other changes of the status. The
// caller holds applying.
func (c *Client) settled(change func(*Status)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.status.Configured, c.status.Services = c.held.applied, len(c.held.mesh.Services)
	change(&c.status)
	select {
	case c.saves <- struct{}{}:
	default:
	}
}

// restore applies what the store has. What cannot be used is left behind: the control plane has it all.
func (c *Client) restore() {
	if c.options.Store == nil {
		return
	}
	stored, err := c.options.Store.load()
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	if err == nil {
		err = c.adopt(stored)
	}
	if err != nil {
		c.log.Warn("start without the stored configuration", "error", err)
		return
	}
	c.log.Info("stored configuration in force", "parts", len(stored.resources))
}

// adopt puts in force what was stored, and asks for it from now on. What was stored for another address of
// the pod is left out.
func (c *Client) adopt(stored *response) error {
	c.applying.Lock()
	defer c.applying.Unlock()
	changes := map[string]*holding{}
	for _, one := range stored.resources {
		kind, _, known := part.ParseName(one.name)
		if !known || kind == part.At && !slices.Contains(c.pinned, one.name) {
			continue
		}
		made, _, err := c.held.read(one)
		if err != nil {
			return fmt.Errorf("restore configuration: %w", err)
		}
		changes[one.name] = made
	}
	if err := c.held.put(changes, true, c.options.Consumer); err != nil {
		return fmt.Errorf("restore configuration: %w", err)
	}
	c.mu.Lock()
	for name := range changes {
		c.names.restore(name)
	}
	c.mu.Unlock()
	c.settled(func(*Status) {})
	return nil
}

// saveDelay gathers changes that come together into one write.
const saveDelay = 100 * time.Millisecond

// save writes what is held, a moment after it has changed, and at the end.
func (c *Client) save(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			select {
			case <-c.saves:
				c.saveNow()
			default:
			}
			return
		case <-c.saves:
		}
		select {
		case <-ctx.Done():
		case <-time.After(saveDelay):
		}
		c.saveNow()
	}
}

func (c *Client) saveNow() {
	c.applying.Lock()
	stored := c.held.list()
	c.applying.Unlock()
	if err := c.options.Store.save(stored); err != nil {
		c.log.Warn("keep configuration", "error", err)
	}
}
