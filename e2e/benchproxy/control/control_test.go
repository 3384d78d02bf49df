package control

import (
	"net/netip"
	"testing"

	"github.com/sluice-mesh/sluice/mesh/ir"
)

var ports = Ports{H1: 1, H2: 2, Bulk: 3}

func TestMeshesArePublished(t *testing.T) {
	plane, err := Start(t.Context(), Mesh(ports))
	if err != nil {
		t.Fatal(err)
	}
	defer plane.Close()
	for number := range 40 {
		if err := plane.Publish(Swap(ports, number+1)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := netip.ParseAddrPort(plane.Address()); err != nil {
		t.Error(err)
	}
}

func TestSwapsDiffer(t *testing.T) {
	before := Mesh(ports)
	for number := range 40 {
		now := Swap(ports, number+1)
		for i, service := range now.Services {
			was := before.Services[i]
			if service.Split.Epoch <= was.Split.Epoch || service.Split.Clamped() {
				t.Errorf("swap %d: split %+v after %+v", number+1, service.Split, was.Split)
			}
			if service.Split.Weight == was.Split.Weight || ir.Equal(service, was) {
				t.Errorf("swap %d: the same weight of %s", number+1, service.Name)
			}
			if service.Subsets[0].Endpoints[0].Address == was.Subsets[0].Endpoints[0].Address {
				t.Errorf("swap %d: the same endpoints of %s", number+1, service.Name)
			}
		}
		before = now
	}
}

func TestMany(t *testing.T) {
	mesh, used := Many(ports, 300, 20)
	if err := ir.Validate(mesh); err != nil {
		t.Fatal(err)
	}
	addresses, endpoints := map[netip.Addr]bool{}, 0
	for _, service := range mesh.Services {
		addresses[service.Addresses[0]] = true
		for _, subset := range service.Subsets {
			endpoints += len(subset.Endpoints)
		}
	}
	if len(mesh.Services) != 300 || len(addresses) != 300 || endpoints != 3000 || len(used) != 20 || !addresses[used[19].Addr()] {
		t.Errorf("%d services at %d addresses with %d endpoints, %d used", len(mesh.Services), len(addresses), endpoints, len(used))
	}
}
