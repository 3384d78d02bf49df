// Package cluster owns the life of a real Kubernetes cluster on this machine: one node, with pods,
// in namespaces of its own. It ties the parts together: package host gives it a place, package
// supervisor runs it, packages component and addon say what it consists of.
//
// A cluster is a folder. All that is known of it is read from there, so that any process can look at
// or remove a cluster that another one started, or that has died.
package cluster

import (
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"

	"github.com/sluice-mesh/sluice/e2e/cluster/host"
	"github.com/sluice-mesh/sluice/e2e/cluster/subnet"
	"github.com/sluice-mesh/sluice/e2e/cluster/supervisor"
)

// Cluster names a cluster, which need not exist.
type Cluster struct {
	Name   string
	Folder string // absolute
}

// State is what is recorded of a cluster in its folder.
type State struct {
	Name        string       `json:"name"`
	Supervisor  host.Process `json:"supervisor"`
	Cgroup      host.Cgroup  `json:"cgroup"`
	Plan        subnet.Plan  `json:"plan"`
	Link        int          `json:"link"` // index of the host's interface
	Snapshotter string       `json:"snapshotter"`
	Up          bool         `json:"up"` // everything was ready once
}

// ErrNotUp says that there is no such cluster, or that it is not running.
var ErrNotUp = errors.New("the cluster is not up")

// validName is a Kubernetes node name that also fits into a host name and a cgroup.
var validName = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?$`)

// At returns the cluster with the name, in the folder.
func At(name, folder string) (Cluster, error) {
	if !validName.MatchString(name) {
		return Cluster{}, fmt.Errorf("name cluster %q: want at most 32 lower case letters, digits and inner dashes", name)
	}
	absolute, err := filepath.Abs(folder)
	if err != nil {
		return Cluster{}, fmt.Errorf("name cluster: %w", err)
	}
	return Cluster{Name: name, Folder: absolute}, nil
}

// List returns the names of the clusters below the folder, whatever state they are in.
func List(parent string) ([]string, error) {
	entries, err := os.ReadDir(parent)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list clusters: %w", err)
	}
	var names []string
	for _, entry := range entries {
		if _, err := os.Stat(filepath.Join(parent, entry.Name(), stateFile)); err == nil {
			names = append(names, entry.Name())
		}
	}
	slices.Sort(names)
	return names, nil
}

// Files in the cluster's folder.
const (
	stateFile      = "state.json"
	kubeconfigFile = "kubeconfig"
	logFolder      = "logs"
)

// Kubeconfig is the path of the administrator's kubeconfig.
func (c Cluster) Kubeconfig() string { return filepath.Join(c.Folder, kubeconfigFile) }

// Log is the path of a component's log.
func (c Cluster) Log(component string) string {
	return filepath.Join(c.Folder, logFolder, component+".log")
}

// Control returns a client of the cluster's supervisor.
func (c Cluster) Control() supervisor.Client { return supervisor.NewClient(c.Folder) }

// cgroup is unique on the machine, so that what a dead cluster left is known to be its.
func (c Cluster) cgroup() host.Cgroup {
	sum := fnv.New32a()
	sum.Write([]byte(c.Folder))
	return host.Cgroup(fmt.Sprintf("/sluice-%s-%08x", c.Name, sum.Sum32()))
}

// State returns what is recorded of the cluster, or ErrNotUp.
func (c Cluster) State() (State, error) {
	content, err := os.ReadFile(filepath.Join(c.Folder, stateFile))
	if errors.Is(err, fs.ErrNotExist) {
		return State{}, ErrNotUp
	}
	if err != nil {
		return State{}, fmt.Errorf("read state of cluster: %w", err)
	}
	var state State
	if err := json.Unmarshal(content, &state); err != nil {
		return State{}, fmt.Errorf("decode state of cluster: %w", err)
	}
	return state, nil
}

// Running returns the state of a cluster whose supervisor lives, or ErrNotUp.
func (c Cluster) Running() (State, error) {
	state, err := c.State()
	if err != nil {
		return State{}, err
	}
	if !state.Supervisor.Alive() {
		return State{}, ErrNotUp
	}
	return state, nil
}

// save replaces the state in one step: others read it at any time.
func (c Cluster) save(state State) error {
	content, err := json.MarshalIndent(state, "", "  ")
	if err != nil {
		return fmt.Errorf("encode state of cluster: %w", err)
	}
	target := filepath.Join(c.Folder, stateFile)
	if err := os.WriteFile(target+".new", content, 0o644); err != nil {
		return fmt.Errorf("write state of cluster: %w", err)
	}
	if err := os.Rename(target+".new", target); err != nil {
		return fmt.Errorf("write state of cluster: %w", err)
	}
	return nil
}
