package meshsync

import (
	"context"
	"encoding/pem"
	"errors"
	"net/http/httptest"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// configMaps is an API server that has some ConfigMaps, or is away.
type configMaps struct {
	client.Reader
	data map[string]map[string]string
	away bool
}

func (c *configMaps) Get(_ context.Context, key client.ObjectKey, object client.Object, _ ...client.GetOption) error {
	if c.away {
		return errors.New("away")
	}
	data, is := c.data[key.String()]
	if !is {
		return apierrors.NewNotFound(schema.GroupResource{Resource: "configmaps"}, key.Name)
	}
	object.(*corev1.ConfigMap).Data = data
	return nil
}

func TestAuthorities(t *testing.T) {
	server := httptest.NewTLSServer(nil)
	defer server.Close()
	good := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}))
	reader := &configMaps{data: map[string]map[string]string{"shop/ca": {"ca.crt": good, "bad": "hello"}}}
	a := authorities{reader: reader}
	ca, gone := types.NamespacedName{Namespace: "shop", Name: "ca"}, types.NamespacedName{Namespace: "shop", Name: "gone"}
	for field, want := range map[string]string{"bad": "no certificate in PEM", "other": "has no key other"} {
		if _, err := a.get(t.Context(), ca, field); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("key %s: %v, want %q", field, err, want)
		}
	}
	if _, err := a.get(t.Context(), gone, "ca.crt"); err == nil || err.Error() != "there is no ConfigMap gone" {
		t.Errorf("a ConfigMap that is not there: %v", err)
	}
	if got, err := a.get(t.Context(), ca, "ca.crt"); got != good || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
	if a.changed(t.Context()) {
		t.Error("something has changed")
	}

	// What was good stays, whatever becomes of the ConfigMap.
	reader.away = true
	if a.changed(t.Context()) {
		t.Error("the server is away, and something has changed")
	}
	reader.away, reader.data = false, map[string]map[string]string{"shop/gone": {"ca.crt": good}}
	if !a.changed(t.Context()) {
		t.Error("a ConfigMap that has come changes nothing")
	}
	for _, key := range []types.NamespacedName{ca, gone} {
		if got, err := a.get(t.Context(), key, "ca.crt"); got != good || err != nil {
			t.Errorf("%s: got %q, %v", key, got, err)
		}
	}
	a.keep(map[authorityKey]bool{{gone, "ca.crt"}: true})
	if _, err := a.get(t.Context(), ca, "ca.crt"); err == nil {
		t.Error("a bundle that nobody names is still known")
	}
}
