package part_test

import (
	"encoding/json"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/sluice-mesh/sluice/mesh/ir"
	"github.com/sluice-mesh/sluice/mesh/ir/irtest"
	"github.com/sluice-mesh/sluice/mesh/xds/part"
)

var addresses = cmpopts.EquateComparable(netip.Addr{})

// What is decoded is what was encoded, in its normal form, and equal meaning is equal bytes.
func TestRoundTrip(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for i := range 400 {
		mesh := irtest.Random(random)
		sent := part.Part{Services: mesh.Services}
		if random.IntN(2) == 0 {
			sent.Settings = &mesh.Settings
		}
		body, version := sent.Encode()
		got, err := part.Decode(body)
		if err != nil {
			t.Fatalf("mesh %d: %v", i, err)
		}
		if diff := cmp.Diff(sent, got, addresses); diff != "" {
			t.Fatalf("mesh %d came back changed (-sent +got):\n%s", i, diff)
		}
		shuffled := part.Part{Services: irtest.Shuffle(random, mesh).Services, Settings: sent.Settings}
		if again, same := shuffled.Encode(); same != version || string(again) != string(body) {
			t.Fatalf("mesh %d: order changed the version", i)
		}
	}
}

func TestDecodeIsLenientToNewerControlPlanes(t *testing.T) {
	got, err := part.Decode([]byte(`{"later":1,"services":[{"Namespace":"shop","Name":"cart","Colour":"red",
		"Ports":[{"Name":"quic","Number":443,"Protocol":"http3"}]}]}`))
	if err != nil {
		t.Fatal(err)
	}
	want := part.Part{Services: []ir.Service{{
		Namespace: "shop", Name: "cart", Ports: []ir.Port{{Name: "quic", Number: 443, Protocol: ir.TCP}},
	}}}
	if diff := cmp.Diff(want, got, addresses); diff != "" {
		t.Errorf("decoded (-want +got):\n%s", diff)
	}
}

func TestDecodeNamesWhatIsWrong(t *testing.T) {
	for name, c := range map[string]struct{ body, want string }{
		"empty":         {``, "decode part"},
		"no JSON":       {`{"services":`, "decode part"},
		"other type":    {`{"services":[{"Ports":3}]}`, "decode part"},
		"range":         {`{"services":[{"Ports":[{"Number":70000}]}]}`, "decode part"},
		"service":       {`{"services":[{"Namespace":"shop","Name":"cart"}]}`, "service shop/cart: has no port"},
		"service twice": {`{"services":[{"Namespace":"a","Name":"b","Ports":[{"Number":1}]},{"Namespace":"a","Name":"b","Ports":[{"Number":1}]}]}`, "service a/b: listed twice"},
		"settings":      {`{"settings":{"AccessLog":{"Share":1000001}}}`, "settings: access log: share of 1000001"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := part.Decode([]byte(c.body))
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("Decode: %v, want it to say %q", err, c.want)
			}
			if len(got.Services) > 0 || got.Settings != nil {
				t.Errorf("a part all the same: %+v", got)
			}
		})
	}
}

func TestNames(t *testing.T) {
	for name, want := range map[string]struct {
		kind    part.Kind
		address string
	}{
		"to/10.0.0.1":                      {part.To, "10.0.0.1"},
		"at/fd00::1":                       {part.At, "fd00::1"},
		"settings":                         {part.ForAll, ""},
		"to/::ffff:10.0.0.1":               {},
		"to/fd00:0::1":                     {},
		"at/fe80::1%eth0":                  {},
		"to/":                              {},
		"to/10.0.0.1:80":                   {},
		"of/10.0.0.1":                      {},
		"settings/":                        {},
		"":                                 {},
		"shop/cart:80":                     {},
		"to/" + strings.Repeat("1", 1<<12): {},
	} {
		kind, address, ok := part.ParseName(name)
		if ok != (want.kind != 0) || kind != want.kind || ok && want.address != "" && address.String() != want.address {
			t.Errorf("ParseName(%.40q) = %v, %v, %v; want %+v", name, kind, address, ok, want)
		}
	}
	mapped := netip.MustParseAddr("::ffff:10.0.0.1")
	if part.ToName(mapped) != "to/10.0.0.1" || part.AtName(mapped) != "at/10.0.0.1" {
		t.Errorf("names of %s: %s, %s", mapped, part.ToName(mapped), part.AtName(mapped))
	}
}

// Whatever arrives, nothing panics, and what is accepted has one encoding.
func FuzzDecode(f *testing.F) {
	random := rand.New(rand.NewPCG(3, 4))
	for range 8 {
		mesh := irtest.Random(random)
		body, _ := part.Part{Services: mesh.Services, Settings: &mesh.Settings}.Encode()
		f.Add(body)
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		decoded, err := part.Decode(body)
		if err != nil {
			return
		}
		once, version := decoded.Encode()
		again, err := part.Decode(once)
		if err != nil {
			t.Fatalf("accepted what is not accepted again: %v", err)
		}
		if twice, same := again.Encode(); string(once) != string(twice) || version != same {
			t.Fatalf("two encodings:\n%s\n%s", once, twice)
		}
		if !json.Valid(once) {
			t.Fatal("no JSON")
		}
	})
}
