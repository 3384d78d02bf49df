package part

import (
	"net/netip"
	"strings"
)

// Type is the type URL of parts.
const Type = "type.googleapis.com/sluice.mesh.v1.Part"

// Settings is the name of the part that has what is the same for all proxies.
const Settings = "settings"

// Kind says what a part's name asks for.
type Kind uint8

// The kinds.
const (
	// To an address: the service with this virtual address, else the headless services that have a pod with
	// it; besides, the services that their routes name.
	To Kind = iota + 1
	// At an address: all services that the pod with this address is behind.
	At
	// ForAll is the part named Settings.
	ForAll
)

const (
	toPrefix = "to/"
	atPrefix = "at/"
)

// ToName names the part with what calls to an address need: "to/<address>".
func ToName(address netip.Addr) string { return toPrefix + address.Unmap().String() }

// AtName names the part with what the pod with an address needs for calls that it gets: "at/<address>".
func AtName(address netip.Addr) string { return atPrefix + address.Unmap().String() }

// ParseName understands names as ToName and AtName make them, and Settings, which has no address. False:
// no part has such a name. An address has one spelling only, so that it has one name.
func ParseName(name string) (Kind, netip.Addr, bool) {
	if name == Settings {
		return ForAll, netip.Addr{}, true
	}
	kind := To
	text, found := strings.CutPrefix(name, toPrefix)
	if !found {
		kind = At
		text, found = strings.CutPrefix(name, atPrefix)
	}
	if !found {
		return 0, netip.Addr{}, false
	}
	address, err := netip.ParseAddr(text)
	if err != nil || address.Zone() != "" || address.Unmap().String() != text {
		return 0, netip.Addr{}, false
	}
	return kind, address, true
}
