// Package irtest makes meshes for tests.
package irtest

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/netip"

	"github.com/sluice-mesh/sluice/mesh/ir"
)

// Random returns a valid mesh in normal form: dual-stack and headless services, services with several
// ports of which endpoints have only some, draining endpoints, zones, every kind of split, of route and of
// policy, and settings.
func Random(random *rand.Rand) ir.Mesh {
	var mesh ir.Mesh
	var addresses pool
	for i := range random.IntN(6) {
		mesh.Services = append(mesh.Services, service(random, i, &addresses))
	}
	for i, service := range mesh.Services {
		mesh.Services[i].Routes = routes(random, service, mesh.Services)
		mesh.Services[i].Policy = policy(random)
	}
	mesh.Settings = settings(random)
	return ir.Normalise(mesh)
}

// Shuffle returns the same mesh with everything that is a set in another order; it shares nothing with the
// mesh that it was made from.
func Shuffle(random *rand.Rand, mesh ir.Mesh) ir.Mesh {
	var deep ir.Mesh
	text, err := json.Marshal(mesh)
	if err == nil {
		err = json.Unmarshal(text, &deep)
	}
	if err != nil {
		panic(err)
	}
	mix(random, deep.Services)
	for i := range deep.Services {
		s := &deep.Services[i]
		mix(random, s.Addresses)
		mix(random, s.Ports)
		mix(random, s.Subsets)
		mix(random, s.Split.Shares)
		for j := range s.Routes {
			r := &s.Routes[j]
			mix(random, r.Ports)
			mix(random, r.Mirrors)
			mix(random, r.RequestHeaders.Set)
			mix(random, r.ResponseHeaders.Remove)
			for k := range r.Matches {
				mix(random, r.Matches[k].Hosts)
				mix(random, r.Matches[k].Headers)
				mix(random, r.Matches[k].Query)
				mix(random, r.Matches[k].Cookies)
			}
			if r.Retry != nil {
				mix(random, r.Retry.On)
				mix(random, r.Retry.GRPCStatuses)
			}
		}
		for j := range s.Subsets {
			mix(random, s.Subsets[j].Endpoints)
		}
	}
	return deep
}

func mix[T any](random *rand.Rand, list []T) {
	random.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
}

// pool gives every address once.
type pool struct{ next uint32 }

func (p *pool) take(random *rand.Rand) netip.Addr {
	p.next++
	n := p.next
	if random.IntN(4) == 0 {
		return netip.AddrFrom16([16]byte{0: 0xfd, 12: byte(n >> 24), 13: byte(n >> 16), 14: byte(n >> 8), 15: byte(n)})
	}
	return netip.AddrFrom4([4]byte{10, byte(n >> 16), byte(n >> 8), byte(n)})
}

func service(random *rand.Rand, i int, addresses *pool) ir.Service {
	made := ir.Service{Namespace: pick(random, "default", "shop", "a"), Name: fmt.Sprintf("s%d", i)}
	for range random.IntN(3) {
		made.Addresses = append(made.Addresses, addresses.take(random))
	}
	for p := range 1 + random.IntN(3) {
		made.Ports = append(made.Ports, ir.Port{
			Name:     pick(random, "http", "grpc", "") + fmt.Sprint(p),
			Number:   uint16(1 + 100*p + random.IntN(100)),
			Protocol: pick(random, ir.HTTP, ir.HTTP, ir.TCP, ir.GRPC, ir.HTTP2, ir.TLS, ir.Undeclared, ""),
		})
	}
	if len(made.Ports) == 1 && random.IntN(2) == 0 {
		made.Ports[0].Name = ""
	}
	names := []string{"", "5d9f7c", "7b8c6d", "66f0-x.y"}
	for _, name := range names[:random.IntN(len(names)+1)] {
		subset := ir.Subset{Name: name}
		for range random.IntN(4) {
			endpoint := ir.Endpoint{Address: addresses.take(random), Ports: map[string]uint16{}, Draining: random.IntN(4) == 0}
			endpoint.Zone = pick(random, "", "zone-a", "zone-b")
			for _, port := range made.Ports {
				if random.IntN(5) > 0 {
					endpoint.Ports[port.Name] = uint16(1 + random.IntN(65535))
				}
			}
			subset.Endpoints = append(subset.Endpoints, endpoint)
		}
		made.Subsets = append(made.Subsets, subset)
	}
	switch random.IntN(4) {
	case 0:
	case 1:
		made.Split = ir.Split{Owner: "u1", Epoch: random.Int64()}
	default:
		split := ir.Split{
			Owner:  pick(random, "u1", "u2", "6f2c-uid"),
			Epoch:  random.Int64N(1 << 62),
			Weight: uint32(random.IntN(101)),
			Stable: names[random.IntN(3)], Canary: names[3],
		}
		if baseline := names[random.IntN(3)]; baseline != split.Stable {
			split.Baseline = baseline
			if baseline != "" {
				split.BaselineWeight = uint32(random.IntN(51))
			}
		}
		made.Split = split.WithShares(made.Subsets)
	}
	return made
}

func pick[T any](random *rand.Rand, choices ...T) T { return choices[random.IntN(len(choices))] }
