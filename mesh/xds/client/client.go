// Package client is how our own proxy learns the mesh: delta xDS over one stream to any replica of the
// control plane.
package client

import (
	"context"
	"errors"
	"log/slog"

	"google.golang.org/grpc/credentials"

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
}

// Client keeps the consumer's mesh that of the control plane.
type Client struct{}

// New makes a client; nothing happens before Run.
func New(options Options) (*Client, error) { return nil, errors.New("not written yet") }

// Run applies the stored configuration, if there is one, then connects and follows the control plane,
// connecting again with jittered back-off, until the context ends. While the control plane is away what
// was applied last stays. Its error is only ever the context's.
func (c *Client) Run(ctx context.Context) error { return errors.New("not written yet") }

// Status is what the client can say of itself.
type Status struct {
	// Connected: a stream to the control plane is open and has answered.
	Connected bool
	// Configured: a mesh has been applied, from the control plane or from the store.
	Configured bool
	// Rejected is why the newest answer was refused; empty when it was not.
	Rejected string
}

// Status may be called from any goroutine.
func (c *Client) Status() Status { return Status{} }

// Store is a file with the last good configuration.
type Store struct{ path string }

// NewStore names the file; its directory must exist by the time of the first write.
func NewStore(path string) *Store { return &Store{path: path} }
