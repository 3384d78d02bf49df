package table

import (
	"time"
)

// Dump is the configuration in force, for people and benchmarks.
type Dump struct {
	// Applied is when this configuration came into force; null before the first.
	Applied *time.Time `json:"applied"`
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
	// Endpoints, by revision.
	Endpoints map[string]EndpointsDump `json:"endpoints"`
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
}

// Dump describes the table.
func (t *Table) Dump() Dump {
	dump := Dump{Services: []ServiceDump{}}
	if t.Configured() {
		applied := t.Applied.UTC()
		dump.Applied = &applied
	}
	for _, s := range t.services {
		dump.Services = append(dump.Services, s.dump())
	}
	return dump
}

func (s *service) dump() ServiceDump {
	d := ServiceDump{
		Namespace: s.Namespace, Name: s.Name,
		Ports: []PortDump{}, Endpoints: map[string]EndpointsDump{},
		Split: SplitDump{
			Owner: s.Split.Owner, Epoch: s.Split.Epoch, Weight: s.Split.Weight,
			Stable: s.Split.Stable, Canary: s.Split.Canary, Baseline: s.Split.Baseline, Since: s.since.UTC(),
		},
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
	for _, subset := range s.Subsets {
		var count EndpointsDump
		for _, e := range subset.Endpoints {
			if e.Draining {
				count.Draining++
			} else {
				count.Ready++
			}
		}
		d.Endpoints[subset.Name] = count
	}
	return d
}
