// Package meshstatus is what an operator replica tells about its proxies, and how: the JSON that the
// replica serves and the command line reads. It knows neither Kubernetes nor xDS, and decides nothing.
package meshstatus

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"time"
)

// Path is where a replica serves its Status, on the port for its peers.
const Path = "/mesh/status"

// maxBytes bounds what Read takes: about a hundred bytes for each of 100 000 proxies.
const maxBytes = 16 << 20

// Status is what one replica knows of the proxies that are connected to it. A proxy is connected to one
// replica only, so the whole is the union over replicas.
type Status struct {
	// Replica is the pod's name.
	Replica string `json:"replica"`
	// Services that the replica publishes, ordered by namespace, name and port.
	Services []Service `json:"services"`
}

// Service is one Service's split, as this replica publishes it, and who has it in force.
type Service struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	// Port is zero where the answer is for all ports.
	Port int32 `json:"port,omitempty"`
	// Owner is the Rollout whose decision the split is, as the mesh knows it: its UID. Empty without one.
	Owner string `json:"owner,omitempty"`
	// Epoch of that decision.
	Epoch int64 `json:"epoch,omitempty"`
	// Weight is the canary's share of requests in percent.
	Weight int32 `json:"weight"`
	// Proxies that have subscribed to the service, ordered by Node.
	Proxies []Proxy `json:"proxies,omitempty"`
}

// Proxy is one proxy's word about one service.
type Proxy struct {
	// Node is "<pod>.<namespace>".
	Node string `json:"node"`
	// Acknowledged: what the replica publishes is in force in the proxy.
	Acknowledged bool `json:"acknowledged"`
	// Version is the hash of what the proxy has acknowledged last; empty when it has not yet.
	Version string `json:"version,omitempty"`
	// Rejected is the proxy's own text, when it has refused what is published; it serves Version still.
	Rejected string `json:"rejected,omitempty"`
	// Since is when it acknowledged or refused last, or connected.
	Since time.Time `json:"since,omitzero"`
}

// Handler serves what the function returns; it is called for every request, from any goroutine.
func Handler(status func() Status) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		body, err := json.Marshal(status())
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(append(body, '\n'))
	})
}

// Read reads what Handler serves. Fields that it does not know are from a newer replica and ignored.
func Read(r io.Reader) (*Status, error) {
	body, err := io.ReadAll(io.LimitReader(r, maxBytes+1))
	if err != nil {
		return nil, fmt.Errorf("read mesh status: %w", err)
	}
	if len(body) > maxBytes {
		return nil, fmt.Errorf("read mesh status: more than %d bytes", maxBytes)
	}
	var status Status
	if err := json.Unmarshal(body, &status); err != nil {
		return nil, fmt.Errorf("read mesh status: %w", err)
	}
	return &status, nil
}
