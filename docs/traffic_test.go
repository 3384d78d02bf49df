package docs_test

import (
	"strings"
	"testing"

	gateway "sigs.k8s.io/gateway-api/apis/v1"
	gatewaybeta "sigs.k8s.io/gateway-api/apis/v1beta1"
	sigsyaml "sigs.k8s.io/yaml"
)

// TestRoutesParse reads the examples of the Gateway API as its own types: a field that does not exist is found.
func TestRoutesParse(t *testing.T) {
	read := 0
	for _, b := range blocksOf(t, "yaml other", 1) {
		if !strings.Contains(b.text, "apiVersion: "+gateway.GroupName+"/") {
			continue
		}
		all, err := objects(b.text)
		if err != nil {
			t.Fatalf("%s: %v", b.where, err)
		}
		for _, u := range all {
			text, err := u.MarshalJSON()
			if err != nil {
				t.Fatal(err)
			}
			into := map[string]any{"HTTPRoute": &gateway.HTTPRoute{}, "GRPCRoute": &gateway.GRPCRoute{}, "ReferenceGrant": &gatewaybeta.ReferenceGrant{}}[u.GetKind()]
			if into == nil {
				t.Errorf("%s: %s is no kind that is read here", b.where, u.GetKind())
				continue
			}
			if err := sigsyaml.UnmarshalStrict(text, into); err != nil {
				t.Errorf("%s: %v", b.where, err)
			}
			read++
		}
	}
	if read < 4 {
		t.Errorf("read %d routes and grants only", read)
	}
}
