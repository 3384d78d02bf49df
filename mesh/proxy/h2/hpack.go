package h2

import (
	"hash/maphash"

	"golang.org/x/net/http2/hpack"
)

// field is one header field.
type field = hpack.HeaderField

// encoder is HPACK's (RFC 7541) for one connection. It puts a field into the dynamic table when it comes a
// second time, so that values that never come again (deadlines, trace ids, paths with numbers) do not push
// out those that do, and writes texts plainly: what Huffman's code saves on a cluster's network is not worth
// its time.
type encoder struct {
	entries []field // newest last
	size    uint32
	max     uint32
	resized bool // to be told in the next block
	lowest  uint32
	seen    [64]uint64 // hashes of fields that came once
}

var seed = maphash.MakeSeed()

func newEncoder() encoder { return encoder{max: minTableSize, lowest: minTableSize} }

// resize follows the peer's SETTINGS_HEADER_TABLE_SIZE, up to the default.
func (e *encoder) resize(limit uint32) {
	limit = min(limit, minTableSize)
	if limit == e.max {
		return
	}
	e.max, e.resized = limit, true
	e.lowest = min(e.lowest, limit)
	e.evict(0)
}

// begin starts a block.
func (e *encoder) begin(b []byte) []byte {
	if !e.resized {
		return b
	}
	if e.lowest < e.max {
		b = appendInt(b, 0x20, 5, uint64(e.lowest))
	}
	e.resized, e.lowest = false, e.max
	return appendInt(b, 0x20, 5, uint64(e.max))
}

// append writes one field.
func (e *encoder) append(b []byte, f field) []byte {
	name := 0
	if !f.Sensitive {
		for i := len(e.entries) - 1; i >= 0; i-- {
			if known := &e.entries[i]; known.Name == f.Name {
				index := len(staticTable) + len(e.entries) - i
				if known.Value == f.Value {
					return appendInt(b, 0x80, 7, uint64(index))
				}
				name = index
			}
		}
	}
	if first := staticNames[f.Name]; first != 0 {
		name = first
		for i := first; !f.Sensitive && i <= len(staticTable) && staticTable[i-1].Name == f.Name; i++ {
			if staticTable[i-1].Value == f.Value {
				return appendInt(b, 0x80, 7, uint64(i))
			}
		}
	}
	switch {
	case f.Sensitive:
		b = appendInt(b, 0x10, 4, uint64(name))
	case e.again(f):
		e.add(f)
		b = appendInt(b, 0x40, 6, uint64(name))
	default:
		b = appendInt(b, 0, 4, uint64(name))
	}
	if name == 0 {
		b = appendText(b, f.Name)
	}
	return appendText(b, f.Value)
}

// again reports whether the field is worth a place in the table.
func (e *encoder) again(f field) bool {
	if f.Size() > e.max/4 {
		return false
	}
	hash := maphash.String(seed, f.Value) ^ maphash.String(seed, f.Name)<<1
	slot := &e.seen[hash%uint64(len(e.seen))]
	if *slot == hash {
		return true
	}
	*slot = hash
	return false
}

func (e *encoder) add(f field) {
	e.evict(f.Size())
	e.entries = append(e.entries, f)
	e.size += f.Size()
}

// evict makes room.
func (e *encoder) evict(room uint32) {
	n := 0
	for e.size+room > e.max && n < len(e.entries) {
		e.size -= e.entries[n].Size()
		n++
	}
	if n > 0 {
		kept := copy(e.entries, e.entries[n:])
		clear(e.entries[kept:])
		e.entries = e.entries[:kept]
	}
}

// appendInt writes an integer with a prefix of so many bits (RFC 7541, 5.1).
func appendInt(b []byte, first byte, bits uint, n uint64) []byte {
	limit := uint64(1)<<bits - 1
	if n < limit {
		return append(b, first|byte(n))
	}
	b = append(b, first|byte(limit))
	for n -= limit; n >= 128; n >>= 7 {
		b = append(b, 0x80|byte(n))
	}
	return append(b, byte(n))
}

func appendText(b []byte, text string) []byte {
	return append(appendInt(b, 0, 7, uint64(len(text))), text...)
}
