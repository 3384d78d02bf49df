package h2

import (
	"bytes"
	"fmt"
	"testing"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// FuzzEncoder has whatever is encoded decoded by another hand, while the table's size changes.
func FuzzEncoder(f *testing.F) {
	f.Add([]byte("\x00a\x00b\x01a\x00b\xffa\x00c"))
	f.Add(bytes.Repeat([]byte("\x00name\x00value\x02name\x00other"), 50))
	names := []string{":method", ":path", ":status", "accept", "x", "grpc-timeout", "cookie", "a-long-name-of-a-field"}
	f.Fuzz(func(t *testing.T, ops []byte) {
		enc := newEncoder()
		var got []field
		dec := hpack.NewDecoder(minTableSize, func(f field) { got = append(got, f) })
		for len(ops) >= 3 {
			if ops[0] == 255 {
				size := uint32(ops[1]) * 32
				enc.resize(size)
				dec.SetAllowedMaxDynamicTableSize(minTableSize)
			}
			var want []field
			block := enc.begin(nil)
			for count := int(ops[1] % 8); count > 0 && len(ops) >= 3; count-- {
				field := field{
					Name: names[int(ops[0])%len(names)], Value: fmt.Sprint(ops[1]%16, string(ops[2:min(len(ops), 2+int(ops[2]%40))])),
					Sensitive: ops[2]%16 == 0,
				}
				want = append(want, field)
				block = enc.append(block, field)
				ops = ops[2:]
			}
			got = nil
			if _, err := dec.Write(block); err != nil {
				t.Fatal(err)
			}
			if err := dec.Close(); err != nil {
				t.Fatal(err)
			}
			if fmt.Sprint(got) != fmt.Sprint(want) {
				t.Fatalf("decoded %v, want %v", got, want)
			}
			ops = ops[min(len(ops), 3):]
		}
	})
}

func TestEncoderIndexesWhatComesAgain(t *testing.T) {
	enc := newEncoder()
	f := field{Name: "grpc-timeout", Value: "1S"}
	first := len(enc.append(nil, f))
	if second := len(enc.append(nil, f)); len(enc.entries) != 1 || second != first {
		t.Errorf("the second time takes %d bytes, %d entries", second, len(enc.entries))
	}
	if third := len(enc.append(nil, f)); third != 1 {
		t.Errorf("the third time takes %d bytes", third)
	}
	f.Sensitive = true
	if b := enc.append(nil, f); b[0]&0xf0 != 0x10 {
		t.Errorf("a sensitive field is written as %x", b[0])
	}
	for i := range 1000 {
		for range 2 {
			enc.append(nil, field{Name: "x", Value: fmt.Sprint("value ", i)})
		}
	}
	if enc.size > minTableSize {
		t.Errorf("the table has %d bytes", enc.size)
	}
}

func TestLongBlocksAreCut(t *testing.T) {
	for _, size := range []int{0, maxFrame - 1, maxFrame, maxFrame + 1, 3*maxFrame + 5} {
		block := bytes.Repeat([]byte{1}, size)
		out := append([]byte("before"), make([]byte, frameHead)...)
		out = closeHeaders(append(out, block...), len("before"), 7, true)
		framer := http2.NewFramer(nil, bytes.NewReader(out[len("before"):]))
		var got []byte
		for ended := false; !ended; {
			f, err := framer.ReadFrame()
			if err != nil {
				t.Fatalf("size %d: %v", size, err)
			}
			switch f := f.(type) {
			case *http2.HeadersFrame:
				if !f.StreamEnded() || f.StreamID != 7 {
					t.Errorf("size %d: %v", size, f)
				}
				got, ended = append(got, f.HeaderBlockFragment()...), f.HeadersEnded()
			case *http2.ContinuationFrame:
				got, ended = append(got, f.HeaderBlockFragment()...), f.HeadersEnded()
			}
		}
		if !bytes.Equal(got, block) {
			t.Errorf("size %d: %d bytes came out", size, len(got))
		}
	}
}

func TestRing(t *testing.T) {
	var r ring
	for id := uint32(1); id < 400; id += 2 {
		r.note(id, id%4 == 1)
	}
	if byUs, found := r.find(397); !byUs || !found {
		t.Error("397 was reset by us")
	}
	if byUs, found := r.find(399); byUs || !found {
		t.Error("399 was not reset by us")
	}
	if _, found := r.find(1); found {
		t.Error("1 is long gone")
	}
}
