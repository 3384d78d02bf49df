package docs_test

import (
	"encoding/json"
	"encoding/pem"
	"net/http/httptest"
	"os"
	"reflect"
	"regexp"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/sluice-mesh/sluice/analysis/replay"
	"github.com/sluice-mesh/sluice/api/v1alpha1"
	"github.com/sluice-mesh/sluice/controllers/runs"
	"github.com/sluice-mesh/sluice/internal/cli"
)

// TestTemplatesCanBeRun resolves every template as a Rollout would: conditions must compile, queries must
// be PromQL, and arguments must be where they are used.
func TestTemplatesCanBeRun(t *testing.T) {
	scheme := runtime.NewScheme()
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	if err := corev1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, b := range blocksOf(t, "yaml", 10) {
		all, err := objects(b.text)
		if err != nil {
			t.Fatalf("%s: %v", b.where, err)
		}
		for _, u := range all {
			cluster := u.GetKind() == "ClusterAnalysisTemplate"
			if u.GetKind() != "AnalysisTemplate" && !cluster {
				continue
			}
			found++
			raw, err := u.MarshalJSON()
			if err != nil {
				t.Fatal(err)
			}
			var template v1alpha1.AnalysisTemplate
			if err := json.Unmarshal(raw, &template); err != nil {
				t.Fatalf("%s: %v", b.where, err)
			}
			var object client.Object = &template
			if cluster {
				object = &v1alpha1.ClusterAnalysisTemplate{ObjectMeta: template.ObjectMeta, Spec: template.Spec}
			}
			rollout := &v1alpha1.Rollout{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "a", Labels: map[string]string{"team": "a"}}}
			rollout.Status.Stable, rollout.Status.Canary = &v1alpha1.Revision{Hash: "old"}, &v1alpha1.Revision{Hash: "new"}
			ref := v1alpha1.AnalysisRef{Templates: []v1alpha1.TemplateRef{{Name: template.Name, ClusterScope: cluster}}}
			for _, arg := range template.Spec.Args {
				if arg.Value == nil && arg.ValueFrom == nil {
					value := "a"
					ref.Args = append(ref.Args, v1alpha1.Argument{Name: arg.Name, Value: &value})
				}
			}
			c := fake.NewClientBuilder().WithScheme(scheme).WithObjects(object).WithObjects(secretsOf(t, raw)...).Build()
			if _, err := runs.Resolve(t.Context(), c, rollout, ref, "spec.analysis.beforePromotion"); err != nil {
				t.Errorf("%s: %s cannot be run: %v", b.where, template.Name, err)
			}
		}
	}
	if found < 5 {
		t.Errorf("found %d templates only", found)
	}
}

var secretName = regexp.MustCompile(`"(?:secretKeyRef|caSecret|bearerTokenSecret)":\{"key":"([^"]+)","name":"([^"]+)"\}`)

// secretsOf makes the Secrets that a template names.
func secretsOf(t *testing.T, raw []byte) []client.Object {
	t.Helper()
	secrets := map[string]*corev1.Secret{}
	for _, match := range secretName.FindAllStringSubmatch(string(raw), -1) {
		key, name := match[1], match[2]
		if secrets[name] == nil {
			secrets[name] = &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name}, Data: map[string][]byte{}}
		}
		secrets[name].Data[key] = []byte("a")
		if strings.HasPrefix(match[0], `"caSecret"`) {
			secrets[name].Data[key] = authority(t)
		}
	}
	var all []client.Object
	for _, secret := range secrets {
		all = append(all, secret)
	}
	return all
}

// authority is some certificate, in PEM.
func authority(t *testing.T) []byte {
	t.Helper()
	server := httptest.NewTLSServer(nil)
	defer server.Close()
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
}

// TestReplayIsExplained: the page has every flag of the command and every field of its output.
func TestReplayIsExplained(t *testing.T) {
	text, err := os.ReadFile("replay.md")
	if err != nil {
		t.Fatal(err)
	}
	var help strings.Builder
	code := cli.Run(t.Context(), "sluice", []string{"analyze", "--help"}, genericiooptions.IOStreams{In: strings.NewReader(""), Out: &help, ErrOut: &help})
	own, _, _ := strings.Cut(help.String(), "Global Flags:")
	_, own, _ = strings.Cut(own, "\nFlags:")
	flags := regexp.MustCompile(`(?m)^ +(?:-\w, )?(--[a-z0-9-]+)`).FindAllStringSubmatch(own, -1)
	if code != 0 || len(flags) < 30 {
		t.Fatalf("exit %d, found %d flags only in:\n%s", code, len(flags), help.String())
	}
	for _, flag := range flags {
		if flag[1] != "--help" && !regexp.MustCompile(regexp.QuoteMeta(flag[1])+`[^a-z-]`).Match(text) {
			t.Errorf("replay.md does not mention %s", flag[1])
		}
	}
	for _, object := range []any{replay.Result{}, replay.Release{}, replay.Decision{}, replay.Line{}, replay.Requests{}, replay.Metric{}} {
		kind := reflect.TypeOf(object)
		for i := range kind.NumField() {
			name, _, _ := strings.Cut(kind.Field(i).Tag.Get("json"), ",")
			if name != "" && !strings.Contains(string(text), "`"+name+"`") {
				t.Errorf("replay.md does not mention the field %s of %s", name, kind.Name())
			}
		}
	}
}
