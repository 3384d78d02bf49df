package supervisor

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/sluice-mesh/sluice/e2e/cluster/component"
)

// socketName is the control socket in the cluster's folder. Who can open it owns the cluster.
const socketName = "control.sock"

// Action is an order to a component.
type Action string

// The actions. Each returns when it has taken effect: the process is gone, or ready.
const (
	Start   Action = "start"
	Stop    Action = "stop"
	Restart Action = "restart"
)

type control struct {
	listener net.Listener
	server   *http.Server
}

func (n *node) listen(ctx context.Context) (*control, error) {
	listener, err := new(net.ListenConfig).Listen(ctx, "unix", filepath.Join(component.Root, socketName))
	if err != nil {
		return nil, fmt.Errorf("listen for orders: %w", err)
	}
	if err := os.Chmod(filepath.Join(component.Root, socketName), 0o600); err != nil {
		return nil, fmt.Errorf("protect control socket: %w", err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /components", n.serveStatus)
	mux.HandleFunc("POST /components/{name}/{action}", n.serveAction)
	return &control{
		listener: listener,
		server:   &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second},
	}, nil
}

func (c *control) serve() error {
	if err := c.server.Serve(c.listener); err != nil {
		return fmt.Errorf("serve orders: %w", err)
	}
	return nil
}

func (n *node) serveStatus(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	if err := json.NewEncoder(w).Encode(n.status()); err != nil {
		n.log.Info("status not sent", "error", err)
	}
}

func (n *node) serveAction(w http.ResponseWriter, r *http.Request) {
	u, found := n.byName[r.PathValue("name")]
	if !found {
		http.Error(w, "no component has that name", http.StatusNotFound)
		return
	}
	kill := r.URL.Query().Has("kill")
	var err error
	switch Action(r.PathValue("action")) {
	case Start:
		err = u.start(r.Context())
	case Stop:
		err = u.stop(r.Context(), kill)
	case Restart:
		if err = u.stop(r.Context(), kill); err == nil {
			err = u.start(r.Context())
		}
	default:
		http.Error(w, "unknown action", http.StatusNotFound)
		return
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}
