package capture

import (
	"bufio"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"net/netip"
	"os"
	"slices"
	"strings"
)

// nativeLittle: /proc/net/route prints addresses as the machine's words.
var nativeLittle = binary.NativeEndian.Uint16([]byte{1, 0}) == 1

// Gateways returns the addresses of the default gateways, IPv4 and IPv6, of the calling thread's network
// namespace: on most networks the address from which the kubelet probes a pod. None is not an error, nor
// is a kernel without IPv6.
func Gateways() ([]netip.Addr, error) {
	var all []netip.Addr
	for _, source := range []struct {
		path  string
		parse func(io.Reader) ([]netip.Addr, error)
	}{
		{"/proc/thread-self/net/route", gateways4},
		{"/proc/thread-self/net/ipv6_route", gateways6},
	} {
		file, err := os.Open(source.path)
		if os.IsNotExist(err) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("read routes: %w", err)
		}
		found, err := source.parse(io.LimitReader(file, 1<<20))
		file.Close()
		if err != nil {
			return nil, fmt.Errorf("read routes from %s: %w", source.path, err)
		}
		for _, addr := range found {
			if !addr.IsUnspecified() && !slices.Contains(all, addr) {
				all = append(all, addr)
			}
		}
	}
	return all, nil
}

// gateways4 parses /proc/net/route: interface, destination, gateway, flags, and so on up to the mask, the
// addresses as hexadecimal words in the machine's byte order.
func gateways4(r io.Reader) ([]netip.Addr, error) {
	return scan(r, 8, func(field []string) (string, bool) {
		return field[2], field[1] == "00000000" && field[7] == "00000000"
	}, func(b []byte) []byte {
		if nativeLittle {
			slices.Reverse(b)
		}
		return b
	})
}

// gateways6 parses /proc/net/ipv6_route: destination, its prefix length, source, its prefix length, next
// hop, and so on, the addresses as 32 hexadecimal digits in network order.
func gateways6(r io.Reader) ([]netip.Addr, error) {
	return scan(r, 10, func(field []string) (string, bool) {
		return field[4], field[1] == "00" && field[9] != "lo"
	}, func(b []byte) []byte { return b })
}

func scan(r io.Reader, fields int, pick func([]string) (string, bool), order func([]byte) []byte) ([]netip.Addr, error) {
	var found []netip.Addr
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		field := strings.Fields(lines.Text())
		if len(field) < fields {
			continue
		}
		digits, ok := pick(field)
		if !ok {
			continue
		}
		raw, err := hex.DecodeString(digits)
		if err != nil {
			return nil, fmt.Errorf("parse gateway %q: %w", digits, err)
		}
		addr, ok := netip.AddrFromSlice(order(raw))
		if !ok {
			return nil, fmt.Errorf("parse gateway %q: not an address", digits)
		}
		found = append(found, addr)
	}
	return found, lines.Err()
}
