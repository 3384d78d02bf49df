package server

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	"github.com/sluice-mesh/sluice/mesh/ir"
	"github.com/sluice-mesh/sluice/mesh/ir/irtest"
	"github.com/sluice-mesh/sluice/mesh/xds/part"
)

// All pods of a service share one content, and what nobody asks for is forgotten.
func TestPartsAreSharedAndForgotten(t *testing.T) {
	s := New(Options{})
	service := ir.Service{Namespace: "default", Name: "echo", Ports: []ir.Port{{Name: "http", Number: 80}}}
	var names []string
	for i := range 100 {
		address := netip.AddrFrom4([4]byte{10, 0, 0, byte(i)})
		service.Subsets = append(service.Subsets, ir.Subset{Name: fmt.Sprintf("v%d", i), Endpoints: []ir.Endpoint{
			{Address: address, Ports: map[string]uint16{"http": 80}},
		}})
		names = append(names, part.AtName(address), part.ToName(address))
	}
	publish := func(epoch int64) {
		t.Helper()
		service.Split = ir.Split{Owner: "u1", Epoch: epoch}
		if err := s.Publish(ir.Mesh{Services: []ir.Service{service}}); err != nil {
			t.Fatal(err)
		}
	}
	publish(1)
	s.mu.Lock()
	for _, name := range append(names, "to/10.9.9.9", part.Settings) {
		s.watch(name)
		s.watch(name)
		s.unwatch(name)
	}
	s.mu.Unlock()
	publish(2)
	if len(s.parts.contents) != 1 || len(s.resources[part.Type]) != len(names)+1 {
		t.Errorf("%d contents and %d resources, want 1 and %d", len(s.parts.contents), len(s.resources[part.Type]), len(names)+1)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, name := range append(names, "to/10.9.9.9", part.Settings) {
		s.unwatch(name)
	}
	if left := len(s.parts.watched) + len(s.parts.holders) + len(s.parts.contents) + len(s.resources[part.Type]); left > 0 {
		t.Errorf("%d things are left: %+v", left, s.parts)
	}
}

// After any sequence of publications, each watched name leads where a server that begins with the last of them
// says that it leads.
func TestPartsFollowAnyChange(t *testing.T) {
	random := rand.New(rand.NewPCG(7, 11))
	watch := func(s *Server, names map[string]bool) {
		s.mu.Lock()
		defer s.mu.Unlock()
		for name := range names {
			if s.parts.watched[name] == nil {
				s.watch(name)
			}
		}
	}
	for range 60 {
		s, names, found := New(Options{}), map[string]bool{part.Settings: true}, 0
		for range 5 {
			mesh := irtest.Random(random)
			for _, meaning := range mesh.Services {
				service := &service{key: meaning.Key(), meaning: meaning}
				for _, place := range slices.Concat(service.virtual(), service.pods()) {
					names[part.AtName(place.address)], names[part.ToName(place.address)] = true, true
				}
			}
			watch(s, names)
			if err := s.Publish(mesh); err != nil {
				t.Fatal(err)
			}
			fresh := New(Options{})
			if err := fresh.Publish(mesh); err != nil {
				t.Fatal(err)
			}
			watch(fresh, names)
			for name := range names {
				got, want := s.resources[part.Type][name], fresh.resources[part.Type][name]
				if (got == nil) != (want == nil) || got != nil && got.version != want.version {
					t.Fatalf("%s: %+v, want %+v", name, got, want)
				}
				if got != nil {
					found++
				}
			}
			if len(s.parts.virtual) != len(fresh.parts.virtual) || len(s.parts.pods) != len(fresh.parts.pods) {
				t.Fatalf("%d and %d places, want %d and %d", len(s.parts.virtual), len(s.parts.pods), len(fresh.parts.virtual), len(fresh.parts.pods))
			}
		}
		if found < 5 {
			t.Fatal("nothing was compared but settings")
		}
	}
}
