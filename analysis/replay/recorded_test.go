package replay

import (
	"encoding/json"
	"flag"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the recordings and what is decided of them anew")

// recorded are the recordings in testdata, which are traces with a seed.
func recorded() map[string]struct {
	header Header
	trace  trace
} {
	own := trace{
		rate: 40, sources: 2, scrape: 15 * time.Second, length: 16 * time.Minute, pods: 2,
		weights: steps(3, 10, 7, 25, 11, 50, 15, 0), stableFails: .009, canaryFails: .009, stableSlow: .02, canarySlow: .02,
	}
	istio := own
	istio.istio, istio.pods, istio.canaryFails, istio.seed = true, 0, .045, 43
	good, bad := own, own
	good.seed = 41
	bad.seed, bad.canaryFails = 42, .04
	return map[string]struct {
		header Header
		trace  trace
	}{
		"good":  {ownHeader(), good},
		"bad":   {ownHeader(), bad},
		"istio": {foreignHeader(), istio},
	}
}

// The recordings are judged as ever. Their results in testdata change only with -update, together with the
// judge.
func TestRecordedReleases(t *testing.T) {
	for name, r := range recorded() {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join("testdata", name+".jsonl.gz")
			if *update {
				m := written(t, r.header, pieces(r.trace.matrix(), 5*time.Minute))
				file, err := m()
				if err != nil {
					t.Fatal(err)
				}
				text, err := io.ReadAll(file)
				if err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(path, text, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			recording, err := Open(func() (io.ReadCloser, error) { return os.Open(path) })
			if err != nil {
				t.Fatal(err)
			}
			o := defaults()
			o.Settings.SuccessRate = .99
			result, err := Judge(t.Context(), recording, o)
			if err != nil {
				t.Fatal(err)
			}
			got, err := json.MarshalIndent(result, "", "  ")
			if err != nil {
				t.Fatal(err)
			}
			golden := filepath.Join("testdata", name+".json")
			if *update {
				if err := os.WriteFile(golden, append(got, '\n'), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), string(got)+"\n"); diff != "" {
				t.Errorf("differs from %s (-want +got), -update writes it anew:\n%s", golden, diff)
			}
		})
	}
}
