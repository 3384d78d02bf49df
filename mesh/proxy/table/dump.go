package table

import (
	"cmp"
	"net/netip"
	"slices"
	"time"

	"github.com/sluice-mesh/sluice/mesh/ir"
)

// Dump is the configuration in force, for people and benchmarks.
type Dump struct {
	// Applied is when this configuration came into force; null before the first.
	Applied *time.Time `json:"applied"`
	// Version is the hash of what is in force: proxies that do the same have the same. "" before the first.
	Version string `json:"version,omitempty"`
	// Services by namespace and name.
	Services []ServiceDump `json:"services"`
}

// ServiceDump is one service of a Dump.
type ServiceDump struct {
	Namespace string     `json:"namespace"`
	Name      string     `json:"name"`
	Addresses []string   `json:"addresses,omitempty"`
	Ports     []PortDump `json:"ports"`
	Split     SplitDump  `json:"split"`
	// Routes in order of precedence.
	Routes []RouteDump `json:"routes,omitempty"`
	// Endpoints, by revision.
	Endpoints map[string]EndpointsDump `json:"endpoints"`
	// InFlight are requests and connections, Repeating those among them that are repetitions.
	InFlight  int64 `json:"inFlight"`
	Repeating int64 `json:"repeating,omitempty"`
	// Used is when a request was last planned for the service, or else when it became known, to the second.
	Used time.Time `json:"used"`
}

// RouteDump is one route of a ServiceDump, in words.
type RouteDump struct {
	Name  string   `json:"name"`
	Ports []uint16 `json:"ports,omitempty"`
	// Matches: one of them must hold; empty: every request matches.
	Matches []string `json:"matches,omitempty"`
	// Actions are what happens to requests that match.
	Actions []string `json:"actions,omitempty"`
	// Requests that matched, since the proxy knows the service.
	Requests int64 `json:"requests"`
}

// PortDump is one port of a ServiceDump.
type PortDump struct {
	Name     string `json:"name,omitempty"`
	Number   uint16 `json:"number"`
	Protocol string `json:"protocol"`
}

// SplitDump is the split in force.
type SplitDump struct {
	Owner  string `json:"owner,omitempty"`
	Epoch  int64  `json:"epoch"`
	Weight uint32 `json:"weight"`
	Stable string `json:"stable,omitempty"`
	Canary string `json:"canary,omitempty"`
	// Baseline is a subset of stable's version as young as the canary; its share is among Shares.
	Baseline string `json:"baseline,omitempty"`
	// Shares in percent; empty: over all endpoints alike.
	Shares map[string]uint32 `json:"shares,omitempty"`
	// Since is when this very split came into force, RFC 3339 with nanoseconds.
	Since time.Time `json:"since"`
}

// EndpointsDump counts a revision's endpoints.
type EndpointsDump struct {
	Ready    int `json:"ready"`
	Draining int `json:"draining"`
	// Each port of each endpoint, by address.
	Each []EndpointDump `json:"each,omitempty"`
}

// EndpointDump is one endpoint and what it does.
type EndpointDump struct {
	Address  string `json:"address"`
	Zone     string `json:"zone,omitempty"`
	Draining bool   `json:"draining,omitempty"`
	// InFlight are requests and connections now; Requests all there were, Failures those that failed.
	InFlight int64 `json:"inFlight"`
	Requests int64 `json:"requests"`
	Failures int64 `json:"failures"`
	// Connections that are open, where the engine counts them.
	Connections int64 `json:"connections,omitempty"`
	// Ejected is until when it is out of the balance for its failures; null when it is not.
	Ejected *time.Time `json:"ejected,omitempty"`
}

// Dump describes the table.
func (t *Table) Dump() Dump {
	dump := Dump{Services: []ServiceDump{}}
	if t.Configured() {
		applied := t.Applied.UTC()
		dump.Applied = &applied
		dump.Version = t.Version()
	}
	for _, s := range t.services {
		dump.Services = append(dump.Services, s.dump(t.now()))
	}
	return dump
}

// Version is the hash of the services in force.
func (t *Table) Version() string {
	mesh := ir.Mesh{}
	for _, s := range t.services {
		mesh.Services = append(mesh.Services, s.Service)
	}
	return mesh.Hash()
}

func (s *service) dump(now time.Time) ServiceDump {
	d := ServiceDump{
		Namespace: s.Namespace, Name: s.Name,
		Ports: []PortDump{}, Endpoints: map[string]EndpointsDump{},
		Split: SplitDump{
			Owner: s.Split.Owner, Epoch: s.Split.Epoch, Weight: s.Split.Weight,
			Stable: s.Split.Stable, Canary: s.Split.Canary, Baseline: s.Split.Baseline, Since: s.since.UTC(),
		},
		InFlight: s.use.inFlight(), Repeating: s.use.repeating.Load(), Used: time.Unix(s.use.second.Load(), 0).UTC(),
	}
	for _, addr := range s.Addresses {
		d.Addresses = append(d.Addresses, addr.String())
	}
	for _, p := range s.Ports {
		d.Ports = append(d.Ports, PortDump{p.Name, p.Number, string(p.Protocol)})
	}
	if len(s.Split.Shares) > 0 {
		d.Split.Shares = map[string]uint32{}
		for _, share := range s.Split.Shares {
			d.Split.Shares[share.Subset] = share.Weight
		}
	}
	for _, r := range s.Routes {
		d.Routes = append(d.Routes, RouteDump{r.Name, r.Ports, matches(r), actions(r), s.use.hitsOf(r.Name).Load()})
	}
	for _, subset := range s.Subsets {
		d.Endpoints[subset.Name] = s.dumpEndpoints(subset, now)
	}
	return d
}

func (s *service) dumpEndpoints(subset ir.Subset, now time.Time) EndpointsDump {
	var d EndpointsDump
	for _, e := range subset.Endpoints {
		if e.Draining {
			d.Draining++
		} else {
			d.Ready++
		}
		seen := map[uint16]bool{}
		for _, number := range e.Ports {
			if seen[number] {
				continue
			}
			seen[number] = true
			address := netip.AddrPortFrom(e.Address, number)
			d.Each = append(d.Each, s.endpoints[endpointKey{address, s.Key(), subset.Name}].dump(e, now))
		}
	}
	slices.SortFunc(d.Each, func(a, b EndpointDump) int { return cmp.Compare(a.Address, b.Address) })
	return d
}

func (e *Endpoint) dump(given ir.Endpoint, now time.Time) EndpointDump {
	d := EndpointDump{
		Address: e.Address.String(), Zone: given.Zone, Draining: given.Draining,
		InFlight: e.Active(), Requests: e.entered.Load(), Failures: e.failures.Load(), Connections: e.connections.Load(),
	}
	if e.ejectedAt(now.UnixNano()) {
		until := time.Unix(0, e.ejected.Load()).UTC()
		d.Ejected = &until
	}
	return d
}
