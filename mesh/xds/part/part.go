// Package part is how our own proxy gets the mesh: parts of it on demand, each a resource of the discovery
// protocol whose body is JSON. It knows the names of parts and their encoding, and nothing of Envoy's
// types or of connections, because the proxy links it and has to stay small.
package part

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/sluice-mesh/sluice/mesh/ir"
)

// Part is what a name leads to. A service is whole in it: with ports, routes, split and endpoints, so that
// a change of it is in force at once or not at all.
type Part struct {
	// Services, sorted by namespace and name, each once.
	Services []ir.Service `json:"services,omitempty"`
	// Settings are in the part of that name only.
	Settings *ir.Settings `json:"settings,omitempty"`
}

// Encode returns a part as it travels, and its version, which identifies the content: parts that mean the
// same have the same bytes and version in every process (of one build). 24 hexadecimal digits.
func (p Part) Encode() (body []byte, version string) {
	body, err := json.Marshal(p.normalise())
	if err != nil {
		// Plain values always marshal: there are no cycles, floats, channels or functions among them.
		body = []byte("{}")
	}
	sum := sha256.Sum256(body)
	return body, hex.EncodeToString(sum[:12])
}

// Decode reads what Encode makes: for a valid part, its normal form. What a newer control plane may add is
// passed over, and a protocol that is not known counts as TCP, which is always right if less. All else that
// is not valid is an error that names the service, and then there is no part.
func Decode(body []byte) (Part, error) {
	var p Part
	if err := json.Unmarshal(body, &p); err != nil {
		return Part{}, fmt.Errorf("decode part: %w", err)
	}
	var errs []error
	seen := make(map[string]bool, len(p.Services))
	for _, service := range p.Services {
		downgrade(service.Ports)
		if err := service.Validate(); err != nil {
			errs = append(errs, err)
		}
		if seen[service.Key()] {
			errs = append(errs, fmt.Errorf("service %s: listed twice", service.Key()))
		}
		seen[service.Key()] = true
	}
	if p.Settings != nil {
		errs = append(errs, p.Settings.Validate())
	}
	if err := errors.Join(errs...); err != nil {
		return Part{}, fmt.Errorf("decode part: %w", err)
	}
	return p.normalise(), nil
}

func downgrade(ports []ir.Port) {
	for i := range ports {
		if !ports[i].Protocol.Known() {
			ports[i].Protocol = ir.TCP
		}
	}
}

func (p Part) normalise() Part {
	services := make([]ir.Service, len(p.Services))
	for i, service := range p.Services {
		services[i] = service.Normalise()
	}
	slices.SortStableFunc(services, ir.CompareServices)
	normal := Part{Services: services}
	if len(services) == 0 {
		normal.Services = nil
	}
	if p.Settings != nil {
		settings := p.Settings.Normalise()
		normal.Settings = &settings
	}
	return normal
}
