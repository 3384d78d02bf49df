// Package client is how our own proxy learns the mesh: delta xDS over one stream to any replica of the
// control plane. It acknowledges only what its consumer has put in force, keeps what is in force while
// the control plane is away or talks nonsense, and over restarts in a file. It knows neither what the
// mesh is used for nor Kubernetes.
package client

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"strconv"
	"sync"
	"time"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/sluice-mesh/sluice/mesh/ir"
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

// Options of a Client. Address, Node.ID and Consumer are required.
type Options struct {
	// Address of the control plane, host:port.
	Address string
	Node    Node
	// Consumer of the mesh.
	Consumer Consumer
	// Store keeps the last good configuration over restarts; nil: nothing is kept.
	Store *Store
	// Credentials secure the connection; nil is plaintext.
	Credentials credentials.TransportCredentials
	// Logger; nil is slog.Default().
	Logger *slog.Logger
	// Now is the clock; nil is time.Now. The time of New tells this start of the process from others.
	Now func() time.Time
}

// Client keeps the consumer's mesh that of the control plane.
type Client struct {
	options  Options
	log      *slog.Logger
	instance string

	// heldMu guards held, for as long as a change of it is not known to stay. Only Run's goroutine writes.
	heldMu sync.Mutex
	held   *held

	statusMu sync.Mutex
	status   Status
}

// Status is what the client can say of itself.
type Status struct {
	// Connected: a stream to the control plane is open.
	Connected bool
	// Configured: a mesh has been applied, from the control plane or from the store.
	Configured bool
	// Rejected is why the newest answer was refused; empty when it was not.
	Rejected string
}

// New makes a client; nothing happens before Run.
func New(options Options) (*Client, error) {
	if options.Address == "" || options.Node.ID == "" || options.Consumer == nil {
		return nil, errors.New("make xds client: an address, a node id and a consumer are required")
	}
	if options.Credentials == nil {
		options.Credentials = insecure.NewCredentials()
	}
	if options.Logger == nil {
		options.Logger = slog.Default()
	}
	if options.Now == nil {
		options.Now = time.Now
	}
	return &Client{
		options:  options,
		log:      options.Logger,
		instance: strconv.FormatInt(options.Now().UnixNano(), 10),
		held:     newHeld(),
	}, nil
}

// Run applies the stored configuration, if there is one, then connects and follows the control plane,
// connecting again with jittered back-off, until the context ends. While the control plane is away what
// was applied last stays. Its error is the context's, or that of an address that can never be dialled.
// It must be called once.
func (c *Client) Run(ctx context.Context) error {
	c.restore()
	var saving sync.WaitGroup
	saves := make(chan struct{}, 1)
	if c.options.Store != nil {
		saving.Go(func() { c.save(ctx, saves) })
	}
	err := c.follow(ctx, func() {
		select {
		case saves <- struct{}{}:
		default:
		}
	})
	saving.Wait()
	return err
}

// Status may be called from any goroutine.
func (c *Client) Status() Status {
	c.statusMu.Lock()
	defer c.statusMu.Unlock()
	return c.status
}

func (c *Client) setStatus(change func(*Status)) {
	c.statusMu.Lock()
	defer c.statusMu.Unlock()
	change(&c.status)
}

// restore applies what the store has. What cannot be used is left behind: the control plane has it all.
func (c *Client) restore() {
	if c.options.Store == nil {
		return
	}
	resources, err := c.options.Store.Load()
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	if err == nil {
		err = c.adopt(resources)
	}
	if err != nil {
		c.log.Warn("start without the stored configuration", "error", err)
		return
	}
	c.log.Info("stored configuration in force", "resources", len(resources))
}

func (c *Client) adopt(resources []versioned) error {
	restored := newHeld()
	if err := restored.fill(resources); err != nil {
		return fmt.Errorf("restore configuration: %w", err)
	}
	if err := c.options.Consumer.Apply(restored.mesh()); err != nil {
		return fmt.Errorf("restore configuration: %w", err)
	}
	c.heldMu.Lock()
	c.held = restored
	c.heldMu.Unlock()
	c.setStatus(func(s *Status) { s.Configured = true })
	return nil
}

// saveDelay gathers changes that come together into one write.
const saveDelay = 100 * time.Millisecond

// save writes what is held, a moment after it has changed, and at the end.
func (c *Client) save(ctx context.Context, saves <-chan struct{}) {
	for {
		select {
		case <-ctx.Done():
			select {
			case <-saves:
				c.saveNow()
			default:
			}
			return
		case <-saves:
		}
		select {
		case <-ctx.Done():
		case <-time.After(saveDelay):
		}
		c.saveNow()
	}
}

func (c *Client) saveNow() {
	c.heldMu.Lock()
	resources := c.held.list()
	c.heldMu.Unlock()
	if err := c.options.Store.Save(resources); err != nil {
		c.log.Warn("keep configuration", "error", err)
	}
}
