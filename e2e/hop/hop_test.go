package hop

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestRoundTrip(t *testing.T) {
	tests := map[string][]Hop{
		"none":   nil,
		"one":    {{Service: "catalog", Version: "v1", Status: 200}},
		"lost":   {{Service: "frontend", Version: "v1", Status: 502}, {Service: "catalog", Status: 503}},
		"silent": {{Service: "frontend", Version: "v1", Status: 502}, {Service: "catalog"}},
	}
	for name, hops := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := Parse(Format(hops))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(hops, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestParseRejects(t *testing.T) {
	tests := map[string]string{
		"no status":  "catalog/v1",
		"no version": "catalog=200",
		"no service": "/v1=200",
		"no number":  "catalog/v1=ok",
		"negative":   "catalog/v1=-1",
		"too long":   strings.Repeat("catalog/v1=200;", 500),
	}
	for name, value := range tests {
		t.Run(name, func(t *testing.T) {
			if hops, err := Parse(value); err == nil {
				t.Errorf("Parse(%q) = %v, want an error", value, hops)
			}
		})
	}
}

func FuzzParse(f *testing.F) {
	f.Add("frontend/v1=200;catalog/=503")
	f.Fuzz(func(t *testing.T, value string) {
		hops, err := Parse(value)
		if err != nil {
			return
		}
		again, err := Parse(Format(hops))
		if err != nil {
			t.Fatalf("Parse(Format(%v)): %v", hops, err)
		}
		if diff := cmp.Diff(hops, again); diff != "" {
			t.Error(diff)
		}
	})
}
