package sluice_test

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the golden files anew")

func TestLint(t *testing.T) {
	for name, args := range map[string][]string{
		"default values": nil,
		"all values":     {"--values", "testdata/all-values.yaml"},
	} {
		t.Run(name, func(t *testing.T) {
			if out, err := helm(t, append([]string{"lint", ".", "--strict"}, args...)...); err != nil {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
}

// TestRender compares what the chart renders with files that a person has read. The CRD is left out: it
// is generated, and api/ has the tests of its rules.
func TestRender(t *testing.T) {
	for name, args := range map[string][]string{
		"default":  nil,
		"all":      {"--values", "testdata/all-values.yaml"},
		"disabled": {"--set", "hold.enabled=false,inject.enabled=false,uninstall.enabled=false,operator.podDisruptionBudget.enabled=false"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := helm(t, append([]string{"template", "sluice", ".", "--namespace", installation, "--set", "crds.enabled=false"}, args...)...)
			if err != nil {
				t.Fatalf("%v\n%s", err, got)
			}
			golden := filepath.Join("testdata", name+".yaml")
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Errorf("render differs from %s (-want +got), -update writes it anew:\n%s", golden, diff)
			}
		})
	}
}

func TestRenderCRD(t *testing.T) {
	const keep = "helm.sh/resource-policy: keep"
	for name, test := range map[string]struct {
		set       string
		crd, kept bool
	}{
		"default":  {set: "crds.enabled=true", crd: true, kept: true},
		"not kept": {set: "crds.keep=false", crd: true},
		"disabled": {set: "crds.enabled=false"},
	} {
		t.Run(name, func(t *testing.T) {
			out, err := helm(t, "template", "sluice", ".", "--set", test.set)
			if err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			if got := strings.Contains(out, "name: rollouts.sluice.dev"); got != test.crd {
				t.Errorf("CRD is rendered: %v, want %v", got, test.crd)
			}
			if got := strings.Contains(out, keep); got != test.kept {
				t.Errorf("CRD is kept: %v, want %v", got, test.kept)
			}
		})
	}
}

func TestRefusedValues(t *testing.T) {
	for set, want := range map[string]string{
		"replicas=3":                                     "at '': additional properties 'replicas' not allowed",
		"operator.replica=3":                             "at '/operator': additional properties 'replica' not allowed",
		"operator.replicas=0":                            "at '/operator/replicas': minimum: got 0, want 1",
		"operator.logLevel=loud":                         "at '/operator/logLevel': value must be one of",
		"operator.image.digest=v1":                       "at '/operator/image/digest': 'v1' does not match pattern",
		"operator.extraArgs={x}":                         "at '/operator/extraArgs/0': 'x' does not match pattern",
		"operator.resources.requests.gpu=1":              "at '/operator/resources/requests': additional properties 'gpu' not allowed",
		"proxy.drain=10":                                 "at '/proxy/drain': got number, want string",
		"proxy.drain=soon":                               "at '/proxy/drain': 'soon' does not match pattern",
		"proxy.image.tag=a b":                            "at '/proxy/image/tag': 'a b' does not match pattern",
		`proxy.image.repository=a"\, x: "b`:              "at '/proxy/image/repository':",
		"proxy.resources.requests.cpu=null":              "missing property 'cpu'",
		"proxy.goMemoryLimit=200Mi":                      "at '/proxy/goMemoryLimit': '200Mi' does not match pattern",
		"inject.excludedNamespaces={monitoring}":         "at '/inject/excludedNamespaces': no items match contains schema",
		"prometheus.address=prometheus:9090":             "at '/prometheus/address': 'prometheus:9090' does not match pattern",
		"slack.approvers={jane}":                         "at '/slack/approvers/0': 'jane' does not match pattern",
		"slack.token=xoxb":                               "at '/slack': additional properties 'token' not allowed",
		"crds.keep=maybe":                                "at '/crds/keep': got string, want boolean",
		"operator.podDisruptionBudget.minAvailable=half": "at '/operator/podDisruptionBudget/minAvailable'",
	} {
		t.Run(set, func(t *testing.T) {
			out, err := helm(t, "template", "sluice", ".", "--set", set)
			if err == nil {
				t.Fatalf("accepted, want %q", want)
			}
			if !strings.Contains(out, want) {
				t.Errorf("refused with\n%s\nwant %q", out, want)
			}
		})
	}
}
