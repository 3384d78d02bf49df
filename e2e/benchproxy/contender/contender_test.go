package contender

import (
	"encoding/json"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

func TestFind(t *testing.T) {
	found, err := Find([]string{"nginx", Ours})
	if err != nil || len(found) != 2 || found[0].Name != Ours || found[1].Name != "nginx" {
		t.Errorf("found %v, %v", found, err)
	}
	if _, err := Find([]string{"apache"}); err == nil || !strings.Contains(err.Error(), "haproxy") {
		t.Errorf("unknown proxy: %v, want an error that lists those there are", err)
	}
	if all, err := Find(Default); err != nil || len(all) != len(Default) {
		t.Errorf("the default: %v, %v", all, err)
	}
}

// Each configuration names the addresses of all entries that its proxy has, and parses.
func TestConfigurations(t *testing.T) {
	site := Site{
		Dir: t.TempDir(), Bin: "bin", Certificate: "/tls.crt", Key: "/tls.key", Both: "/tls.pem",
		H1: netip.MustParseAddrPort("127.0.0.1:1"), H2: netip.MustParseAddrPort("127.0.0.1:2"), Bulk: netip.MustParseAddrPort("127.0.0.1:3"),
	}
	for _, c := range all {
		if c.start != nil {
			continue
		}
		points, err := c.points(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		file, err := c.configure(site, points)
		if err != nil {
			t.Fatalf("%s: %v", c.Name, err)
		}
		path, args := c.command(site, file)
		if path == "" || !slices.ContainsFunc(args, func(arg string) bool { return strings.Contains(arg, site.Dir) }) {
			t.Errorf("%s: %s %v does not name its configuration", c.Name, path, args)
		}
		var whole string
		for name := range c.files {
			text, err := os.ReadFile(file(name))
			if err != nil {
				t.Fatal(err)
			}
			whole += string(text)
			var into any
			switch filepath.Ext(name) {
			case ".json":
				err = json.Unmarshal(text, &into)
			case ".yaml":
				err = yaml.Unmarshal(text, &into)
			}
			if err != nil {
				t.Errorf("%s: %s: %v", c.Name, name, err)
			}
		}
		for entry, point := range points {
			if !strings.Contains(whole, point.Address.String()) {
				t.Errorf("%s: its configuration lacks the entry %s", c.Name, entry)
			}
		}
		if strings.Contains(whole, "no value") || !strings.Contains(whole, site.H2.String()) {
			t.Errorf("%s: incomplete: %s", c.Name, whole)
		}
		if missing := len(Entries) - len(points); missing != len(c.Lacks) {
			t.Errorf("%s has %d entries and lacks %v", c.Name, len(points), c.Lacks)
		}
	}
}
