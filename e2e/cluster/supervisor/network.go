package supervisor

import (
	"fmt"
	"net"
	"net/netip"
	"os"

	"github.com/vishvananda/netlink"

	"github.com/sluice-mesh/sluice/e2e/cluster/subnet"
)

// connect gives the node its address. There is no default route on purpose: what is not in the
// cluster is unreachable at once instead of after a timeout.
func connect(plan subnet.Plan) error {
	loopback, err := netlink.LinkByName("lo")
	if err != nil {
		return fmt.Errorf("find loopback: %w", err)
	}
	if err := netlink.LinkSetUp(loopback); err != nil {
		return fmt.Errorf("enable loopback: %w", err)
	}
	link, err := netlink.LinkByName(Link)
	if err != nil {
		return fmt.Errorf("find link to the host: %w", err)
	}
	if err := netlink.AddrAdd(link, &netlink.Addr{IPNet: network(netip.PrefixFrom(plan.Node, plan.Link.Bits()))}); err != nil {
		return fmt.Errorf("set address of the node: %w", err)
	}
	if err := netlink.LinkSetUp(link); err != nil {
		return fmt.Errorf("enable link to the host: %w", err)
	}
	for setting, value := range map[string]string{
		"ipv4/ip_forward":             "1",
		"ipv4/conf/all/rp_filter":     "0",
		"ipv4/conf/default/rp_filter": "0",
		// A connection to a pod that is gone must not keep the whole namespace for minutes.
		"ipv4/tcp_orphan_retries": "1",
	} {
		if err := os.WriteFile("/proc/sys/net/"+setting, []byte(value), 0o644); err != nil {
			return fmt.Errorf("set network setting: %w", err)
		}
	}
	return nil
}

func network(prefix netip.Prefix) *net.IPNet {
	return &net.IPNet{
		IP:   prefix.Addr().AsSlice(),
		Mask: net.CIDRMask(prefix.Bits(), prefix.Addr().BitLen()),
	}
}
