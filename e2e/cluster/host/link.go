package host

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"

	"github.com/vishvananda/netlink"

	"github.com/sluice-mesh/sluice/e2e/cluster/subnet"
)

// Claim takes the first free plan of addresses for the network namespace of the process: it creates
// the link between that namespace, where it is called inner, and the host, and the host's routes.
// The link's name makes the claim exclusive. All of it goes when the namespace goes.
//
// The second result is the index of the host's interface, which the kernel never gives again.
func Claim(pid int, inner string) (subnet.Plan, int, error) {
	taken, err := routes()
	if err != nil {
		return subnet.Plan{}, 0, err
	}
	for index := range subnet.Limit {
		plan, err := subnet.For(index)
		if err != nil {
			return subnet.Plan{}, 0, err
		}
		if plan.Clashes(taken) {
			continue
		}
		err = netlink.LinkAdd(&netlink.Veth{
			LinkAttrs:     netlink.LinkAttrs{Name: plan.Interface()},
			PeerName:      inner,
			PeerNamespace: netlink.NsPid(pid),
		})
		if errors.Is(err, syscall.EEXIST) {
			continue
		}
		if err != nil {
			return subnet.Plan{}, 0, fmt.Errorf("create link to the cluster: %w", err)
		}
		number, err := route(plan)
		return plan, number, err
	}
	return subnet.Plan{}, 0, fmt.Errorf("claim addresses: all %d ranges are taken", subnet.Limit)
}

func routes() ([]netip.Prefix, error) {
	list, err := netlink.RouteList(nil, netlink.FAMILY_V4)
	if err != nil {
		return nil, fmt.Errorf("list routes: %w", err)
	}
	var prefixes []netip.Prefix
	for _, route := range list {
		if route.Dst == nil {
			continue
		}
		if address, ok := netip.AddrFromSlice(route.Dst.IP); ok {
			ones, _ := route.Dst.Mask.Size()
			prefixes = append(prefixes, netip.PrefixFrom(address.Unmap(), ones))
		}
	}
	return prefixes, nil
}

// route sets the host's end of the link up.
func route(plan subnet.Plan) (int, error) {
	link, err := netlink.LinkByName(plan.Interface())
	if err != nil {
		return 0, fmt.Errorf("find link to the cluster: %w", err)
	}
	address := &netlink.Addr{IPNet: network(netip.PrefixFrom(plan.Host, plan.Link.Bits()))}
	if err := netlink.AddrAdd(link, address); err != nil {
		return 0, fmt.Errorf("set address of the host: %w", err)
	}
	if err := netlink.LinkSetUp(link); err != nil {
		return 0, fmt.Errorf("enable link to the cluster: %w", err)
	}
	number := link.Attrs().Index
	for _, destination := range []netip.Prefix{plan.Services, plan.Pods} {
		err := netlink.RouteAdd(&netlink.Route{
			LinkIndex: number, Dst: network(destination), Gw: plan.Node.AsSlice(),
		})
		if err != nil {
			return 0, fmt.Errorf("add route to %v: %w", destination, err)
		}
	}
	return number, nil
}

// Release removes the link with the index of the host's interface, if it is still there. A network
// namespace can outlive its processes: a connection that was cut off waits for an answer.
func Release(number int) error {
	link, err := netlink.LinkByIndex(number)
	var gone netlink.LinkNotFoundError
	if errors.As(err, &gone) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("find link to the cluster: %w", err)
	}
	if err := netlink.LinkDel(link); err != nil && !errors.Is(err, syscall.ENODEV) {
		return fmt.Errorf("remove link to the cluster: %w", err)
	}
	return nil
}

// LinkExists reports whether the host still has the interface with the index.
func LinkExists(number int) bool {
	_, err := net.InterfaceByIndex(number)
	return err == nil
}

func network(prefix netip.Prefix) *net.IPNet {
	return &net.IPNet{
		IP:   prefix.Addr().AsSlice(),
		Mask: net.CIDRMask(prefix.Bits(), prefix.Addr().BitLen()),
	}
}
