package table

import (
	"cmp"
	"encoding/binary"
	"net/netip"
	"slices"
)

// ring places every endpoint at many points of a circle; a value belongs to the first point at or after its
// hash. When an endpoint comes or goes, only values of its own points move. Hashes are the same in every
// proxy, so that all callers agree.
type ring []point

type point struct {
	at       uint32
	endpoint uint32 // index
}

const (
	// pointsEach keeps the shares of endpoints within some 10 % of each other.
	pointsEach = 100
	// pointsAll bounds a ring, to 128 KB.
	pointsAll = 1 << 14
)

func newRing(endpoints []*Endpoint) ring {
	each := max(min(pointsEach, pointsAll/max(len(endpoints), 1)), 1)
	points := make(ring, 0, each*len(endpoints))
	for i, e := range endpoints {
		seed := hashAddress(e.Address.Addr()) + uint64(e.Address.Port())
		for n := range each {
			points = append(points, point{uint32(mix(seed+uint64(n)<<32) >> 32), uint32(i)})
		}
	}
	slices.SortFunc(points, func(a, b point) int {
		return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.endpoint, b.endpoint))
	})
	return points
}

// find returns the endpoint that a hash belongs to, of those that fit: the next one around the circle where
// the first does not. Nil: none fits.
func (r ring) find(hash uint64, f *field) *Endpoint {
	from, _ := slices.BinarySearchFunc(r, uint32(hash>>32), func(p point, at uint32) int { return cmp.Compare(p.at, at) })
	for i := range r {
		if e := f.list[r[(from+i)%len(r)].endpoint]; f.fits(e) {
			return e
		}
	}
	return nil
}

// hashText is FNV-1a, mixed.
func hashText(text string) uint64 {
	hash := uint64(14695981039346656037)
	for i := range len(text) {
		hash = (hash ^ uint64(text[i])) * 1099511628211
	}
	return mix(hash)
}

func hashAddress(address netip.Addr) uint64 {
	bytes := address.As16()
	return mix(binary.BigEndian.Uint64(bytes[:8]) ^ mix(binary.BigEndian.Uint64(bytes[8:])))
}

// mix spreads what differs over all bits (the finalizer of SplitMix64).
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}
