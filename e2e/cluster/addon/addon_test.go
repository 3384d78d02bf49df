package addon_test

import (
	"strings"
	"testing"
	"time"

	"github.com/sluice-mesh/sluice/e2e/cluster/addon"
	"github.com/sluice-mesh/sluice/e2e/cluster/subnet"
)

func TestManifests(t *testing.T) {
	plan, err := subnet.For(0)
	if err != nil {
		t.Fatal(err)
	}
	out, err := addon.Manifests(plan, addon.Options{ScrapeInterval: 1500 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"clusterIP: " + plan.DNS().String(), "clusterIP: " + plan.Prometheus().String(), "scrape_interval: 1500ms",
	} {
		if !strings.Contains(string(out), want) {
			t.Errorf("the manifests have no %q", want)
		}
	}
	for _, spec := range addon.Images("bin") {
		if strings.Contains(spec.Name, "pause") {
			continue // no manifest names it: the container runtime uses it
		}
		if !strings.Contains(string(out), "image: "+spec.Name) {
			t.Errorf("nothing uses the image %s", spec.Name)
		}
	}
	if _, err := addon.Manifests(plan, addon.Options{}); err == nil {
		t.Error("a scrape interval of nothing was accepted")
	}
}
