package cli

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/sluice-mesh/sluice/internal/meshstatus"
)

// api is the part of an API server that mesh status asks: the operator's pods, and a proxy to each.
func api(t *testing.T, replicas map[string]*meshstatus.Status) *world {
	t.Helper()
	const base = "/api/v1/namespaces/sluice-system/pods"
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+base, func(w http.ResponseWriter, r *http.Request) {
		if got := r.URL.Query().Get("labelSelector"); got != operatorPods {
			t.Errorf("selects %q", got)
		}
		list := corev1.PodList{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "PodList"}}
		for name := range replicas {
			list.Items = append(list.Items, corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name}})
		}
		list.Items = append(list.Items, corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "evicted"}, Status: corev1.PodStatus{Phase: corev1.PodFailed}})
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(list)
	})
	for name, status := range replicas {
		path := "GET " + base + "/http:" + name + ":15011/proxy" + meshstatus.Path
		if status == nil {
			mux.HandleFunc(path, func(w http.ResponseWriter, _ *http.Request) {
				http.Error(w, "no route to host", http.StatusServiceUnavailable)
			})
			continue
		}
		mux.Handle(path, meshstatus.Handler(func() meshstatus.Status { return *status }))
	}
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	scheme, err := newScheme()
	if err != nil {
		t.Fatal(err)
	}
	shop := rollout(nil)
	shop.UID = "321cd199"
	c := fake.NewClientBuilder().WithScheme(scheme).WithObjects(shop).Build()
	return &world{WithWatch: c, config: &rest.Config{Host: server.URL}, namespace: "demo"}
}

func twoReplicas() map[string]*meshstatus.Status {
	since := noon.Add(-3 * time.Second)
	return map[string]*meshstatus.Status{
		"sluice-operator-b": {Replica: "sluice-operator-b", Services: []meshstatus.Service{
			{Namespace: "demo", Name: "shop", Owner: "321cd199", Epoch: 8, Weight: 50, Proxies: []meshstatus.Proxy{
				{Node: "load-3.demo", Acknowledged: true, Version: "6d1f", Since: since},
				{Node: "load-1.demo", Version: "0a2b", Rejected: "no such cluster\x1b[2J", Since: since},
			}},
			{Namespace: "till", Name: "register", Port: 80},
		}},
		"sluice-operator-a": {Replica: "sluice-operator-a", Services: []meshstatus.Service{
			{Namespace: "demo", Name: "shop", Owner: "321cd199", Epoch: 7, Weight: 25, Proxies: []meshstatus.Proxy{
				{Node: "load-2.demo", Since: since},
				{Node: "load-3.demo", Acknowledged: true}, // told by another replica
			}},
		}},
	}
}

func TestMeshStatus(t *testing.T) {
	w := api(t, twoReplicas())
	for name, args := range map[string]string{
		"mesh": "mesh status", "mesh wide": "mesh status -o wide", "mesh json": "mesh status -o json", "mesh namespace": "mesh status -n till",
	} {
		t.Run(name, func(t *testing.T) {
			code, out, problems := w.run(t, strings.Fields(args)...)
			if code != ExitDone || problems != "" {
				t.Errorf("exit %d, %q", code, problems)
			}
			golden(t, name, out)
			if strings.Contains(out, "\x1b") {
				t.Error("a proxy's text reaches the terminal as it is")
			}
		})
	}
}

func TestMeshStatusOfAReplicaThatIsAway(t *testing.T) {
	replicas := twoReplicas()
	replicas["sluice-operator-b"] = nil
	code, out, problems := api(t, replicas).run(t, "mesh", "status")
	if code != ExitError || !strings.Contains(problems, "warning: ask sluice-operator-b: ") {
		t.Errorf("exit %d, %q", code, problems)
	}
	if !strings.Contains(out, "demo/shop") {
		t.Errorf("the other replica's answer is not shown: %q", out)
	}
}

func TestMeshStatusWithoutOperator(t *testing.T) {
	code, _, problems := api(t, nil).run(t, "mesh", "status")
	if code != ExitError || !strings.Contains(problems, "--sluice-namespace") {
		t.Errorf("exit %d, %q", code, problems)
	}
}
