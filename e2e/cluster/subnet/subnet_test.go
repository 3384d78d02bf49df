package subnet_test

import (
	"net/netip"
	"testing"

	"github.com/sluice-mesh/sluice/e2e/cluster/subnet"
)

func TestPlansDoNotOverlap(t *testing.T) {
	var seen []netip.Prefix
	for index := range subnet.Limit {
		plan, err := subnet.For(index)
		if err != nil {
			t.Fatal(err)
		}
		if plan.Clashes(seen) {
			t.Errorf("plan %d (%v) overlaps an earlier one", index, plan.Block)
		}
		seen = append(seen, plan.Block)

		parts := []netip.Prefix{plan.Link, plan.Services, plan.Pods}
		for i, part := range parts {
			if !plan.Block.Contains(part.Addr()) || part.Bits() < plan.Block.Bits() {
				t.Errorf("plan %d: %v is outside of %v", index, part, plan.Block)
			}
			for _, other := range parts[i+1:] {
				if part.Overlaps(other) {
					t.Errorf("plan %d: %v and %v overlap", index, part, other)
				}
			}
		}
		for name, inside := range map[string]bool{
			"host":       plan.Link.Contains(plan.Host),
			"node":       plan.Link.Contains(plan.Node),
			"api":        plan.Services.Contains(plan.API()),
			"dns":        plan.Services.Contains(plan.DNS()),
			"prometheus": plan.Services.Contains(plan.Prometheus()),
		} {
			if !inside {
				t.Errorf("plan %d: the address of %s is outside of its range", index, name)
			}
		}
		if length := len(plan.Interface()); length > 15 {
			t.Errorf("plan %d: interface name of %d bytes, the kernel takes 15", index, length)
		}
	}
}

func TestIndexOutOfRange(t *testing.T) {
	for _, index := range []int{-1, subnet.Limit} {
		if _, err := subnet.For(index); err == nil {
			t.Errorf("index %d was accepted", index)
		}
	}
}

func TestClashes(t *testing.T) {
	plan, err := subnet.For(3) // 10.203.0.0/16
	if err != nil {
		t.Fatal(err)
	}
	tests := map[string]struct {
		route string
		want  bool
	}{
		"default route":    {"0.0.0.0/0", false},
		"elsewhere":        {"192.168.0.0/24", false},
		"the neighbour":    {"10.202.0.0/16", false},
		"the same":         {"10.203.0.0/16", true},
		"one host of ours": {"10.203.128.7/32", true},
		"all of ten":       {"10.0.0.0/8", true},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if got := plan.Clashes([]netip.Prefix{netip.MustParsePrefix(test.route)}); got != test.want {
				t.Errorf("got %v, want %v", got, test.want)
			}
		})
	}
}
