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
			for _, kind := range []string{"rollouts", "analysistemplates", "clusteranalysistemplates", "analysisruns", "trafficpolicies"} {
				if got := strings.Contains(out, "name: "+kind+".sluice.dev"); got != test.crd {
					t.Errorf("CRD of %s is rendered: %v, want %v", kind, got, test.crd)
				}
			}
			if got := strings.Contains(out, keep); got != test.kept {
				t.Errorf("CRD is kept: %v, want %v", got, test.kept)
			}
		})
	}
}

// TestConnection renders each way to reach Prometheus apart: one that is not asked for must leave nothing.
func TestConnection(t *testing.T) {
	for name, test := range map[string]struct{ set, want, never string }{
		"nothing":     {"crds.keep=true", "--prometheus-timeout=5s", "/var/run/sluice/prometheus"},
		"authority":   {"prometheus.connection.caSecret.name=a", "- --prometheus-ca=/var/run/sluice/prometheus/ca.crt", "--prometheus-cert"},
		"certificate": {"prometheus.connection.clientCertificateSecret.name=a", "- --prometheus-key=/var/run/sluice/prometheus/tls.key", "--prometheus-ca"},
		"basic":       {"prometheus.connection.basicAuthSecret.name=a", "- --prometheus-password-file=/var/run/sluice/prometheus/password", "--prometheus-bearer"},
		"a key":       {"prometheus.connection.bearerTokenSecret.name=a,prometheus.connection.bearerTokenSecret.key=b", "- key: b\n                      path: token", "password"},
	} {
		t.Run(name, func(t *testing.T) {
			out, err := helm(t, "template", "sluice", ".", "--set", test.set, "--show-only", "templates/operator-deployment.yaml")
			if err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			if !strings.Contains(out, test.want) || strings.Contains(out, test.never) {
				t.Errorf("want %q and not %q in\n%s", test.want, test.never, out)
			}
		})
	}
}

func TestRefusedValues(t *testing.T) {
	for set, want := range map[string]string{
		"replicas=3":                             "at '': additional properties 'replicas' not allowed",
		"operator.replica=3":                     "at '/operator': additional properties 'replica' not allowed",
		"operator.replicas=0":                    "at '/operator/replicas': minimum: got 0, want 1",
		"operator.logLevel=loud":                 "at '/operator/logLevel': value must be one of",
		"operator.image.digest=v1":               "at '/operator/image/digest': 'v1' does not match pattern",
		"operator.extraArgs={x}":                 "at '/operator/extraArgs/0': 'x' does not match pattern",
		"operator.resources.requests.gpu=1":      "at '/operator/resources/requests': additional properties 'gpu' not allowed",
		"proxy.drain=10":                         "at '/proxy/drain': got number, want string",
		"proxy.drain=soon":                       "at '/proxy/drain': 'soon' does not match pattern",
		"proxy.image.tag=a b":                    "at '/proxy/image/tag': 'a b' does not match pattern",
		`proxy.image.repository=a"\, x: "b`:      "at '/proxy/image/repository':",
		"proxy.resources.requests.cpu=null":      "missing property 'cpu'",
		"proxy.goMemoryLimit=200Mi":              "at '/proxy/goMemoryLimit': '200Mi' does not match pattern",
		"proxy.accessLog.share=101":              "at '/proxy/accessLog/share': maximum: got 101, want 100",
		"proxy.accessLog.slow=1":                 "at '/proxy/accessLog/slow': got number, want string",
		"proxy.tracing.endpoint=collector:4318":  "at '/proxy/tracing/endpoint': 'collector:4318' does not match pattern",
		"proxy.tracing.format=jaeger":            "at '/proxy/tracing/format': value must be one of",
		"proxy.tracing.propagation=xray":         "at '/proxy/tracing/propagation': value must be one of",
		"inject.excludedNamespaces={monitoring}": "at '/inject/excludedNamespaces': no items match contains schema",
		"prometheus.address=prometheus:9090":     "at '/prometheus/address': 'prometheus:9090' does not match pattern",
		"prometheus.connection.caSecret=a":       "at '/prometheus/connection/caSecret': got string, want object",
		"prometheus.connection.caSecret.name=A":  "at '/prometheus/connection/caSecret/name': 'A' does not match pattern",
		"prometheus.connection.password=a":       "at '/prometheus/connection': additional properties 'password' not allowed",
		"prometheus.connection.headers.A_B=c":    "invalid propertyName 'A_B'",
		"prometheus.connection.timeout=5":        "at '/prometheus/connection/timeout': got number, want string",
		"prometheus.connection.bearerTokenSecret.name=a,prometheus.connection.basicAuthSecret.name=b": "at '/prometheus/connection': 'not' failed",
		"operator.readWebhookSecrets=true":               "at '/operator': additional properties 'readWebhookSecrets' not allowed",
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
