package prometheus

import (
	"strings"
	"testing"
	"time"

	"github.com/sluice-mesh/sluice/analysis"
)

// A baseline's requests are what is counted beside the canary's. What is usual is stable's: the baseline has no
// past.
func TestBaseline(t *testing.T) {
	release := analysis.Release{
		Namespace: "shop", Service: "cart", Stable: "old", Control: "young", Canary: "new", Since: time.Unix(1e9, 0),
	}
	if err := refuse(release); err != nil {
		t.Fatal(err)
	}
	if got := newLedger(release, scale{}, 0).revisions; got != [2]string{canary: "new", control: "young"} {
		t.Errorf("counts revisions %v, want the canary's and the baseline's", got)
	}
	r := (&Sampler{Client: &Client{}}).newReading(release)
	if got := r.selection().revisions; len(got) != 2 || got[0] != "new" || got[1] != "young" {
		t.Errorf("asks for revisions %v, want the canary's and the baseline's", got)
	}
	if got := selectNative(release); !strings.Contains(got, `revision="old"`) {
		t.Errorf("reads what is usual from %s, want stable's", got)
	}
	release.Stable = ""
	if got := selectNative(release); !strings.Contains(got, `revision="young"`) {
		t.Errorf("without a stable version reads what is usual from %s", got)
	}
	release.Control = "new"
	if refuse(release) == nil {
		t.Error("compares the canary with itself")
	}
}
