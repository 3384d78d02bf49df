package e2e

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	gateway "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/sluice-mesh/sluice/api/v1alpha1"
	"github.com/sluice-mesh/sluice/e2e/harness"
	"github.com/sluice-mesh/sluice/e2e/hop"
)

// A route leads requests by header and path, splits between Services and mirrors, and a release of the
// Service behind it goes its way at the same time.
func TestHTTPRoute(t *testing.T) {
	t.Parallel()
	ctx := needCluster(t, 0)
	if err := cluster.InstallGatewayAPI(ctx); err != nil {
		t.Fatal(err)
	}
	w := newWorld(t, setting{})
	for name, version := range map[string]harness.Version{"next": v3, "shadow": {Name: "v4"}} {
		w.must(w.Deploy(w.ctx, harness.App{Name: name, Version: version, Replicas: 1}))
	}
	w.must(w.AwaitAvailable(w.ctx, "next", "shadow"))
	w.must(w.Create(w.ctx, shopRoute()))
	w.await("the route to be accepted", func() (bool, error) {
		route := &gateway.HTTPRoute{}
		err := w.Get(w.ctx, shop, route)
		return accepted(route), err
	})
	// Each replica of the operator finds the Gateway API by itself, and ours may be the other one.
	w.await("the route to be in force", func() (bool, error) {
		_, version, err := w.fetch("/", map[string]string{"x-team": "checkout"})
		return version == "v3", err
	})

	w.release(v2)
	w.reaches(1, 20)
	counted := map[string]int{}
	for range 40 {
		_, version, err := w.fetch("/half", nil)
		w.must(err)
		counted[version]++
	}
	if counted["v3"] == 0 || counted["v1"]+counted["v2"] == 0 || counted["v1"]+counted["v2"]+counted["v3"] != 40 {
		t.Errorf("versions that answered at /half: %v, want those of both Services", counted)
	}
	for range 10 {
		if path, version, err := w.fetch("/", map[string]string{"x-team": "checkout"}); err != nil || version != "v3" || path != "/" {
			t.Errorf("asked with the header: %s of %s, %v, want v3", path, version, err)
		}
		if path, version, err := w.fetch("/old/things?of=mine", nil); err != nil || version == "v3" || path != "/new/things?of=mine" {
			t.Errorf("asked for an old path: %s of %s, %v, want the new one of v1 or v2", path, version, err)
		}
	}
	w.ends(1, v1alpha1.OutcomePromoted)
	w.served("v2")
	s := w.nothingLost(w.load)
	if diff := cmp.Diff([]string{"v1", "v2"}, s.Total.Names()); diff != "" {
		t.Errorf("versions that the client saw: %s", diff)
	}
	pods, err := w.PodsOf(w.ctx, "shadow")
	w.must(err)
	w.await("the mirror to have got its copies", func() (bool, error) {
		asked, err := w.Asked(w.ctx, pods[0].Name)
		return asked >= 100, err
	})
	w.ordinary()
}

// shopRoute is a route for requests to the shop.
func shopRoute() *gateway.HTTPRoute {
	to := func(name string) gateway.BackendObjectReference {
		return gateway.BackendObjectReference{Name: gateway.ObjectName(name), Port: ptr.To[gateway.PortNumber](harness.ServicePort)}
	}
	backend := func(names ...string) []gateway.HTTPBackendRef {
		var all []gateway.HTTPBackendRef
		for _, name := range names {
			all = append(all, gateway.HTTPBackendRef{BackendRef: gateway.BackendRef{BackendObjectReference: to(name), Weight: ptr.To[int32](1)}})
		}
		return all
	}
	below := func(path string) []gateway.HTTPRouteMatch {
		return []gateway.HTTPRouteMatch{{Path: &gateway.HTTPPathMatch{Type: ptr.To(gateway.PathMatchPathPrefix), Value: &path}}}
	}
	return &gateway.HTTPRoute{
		ObjectMeta: metav1.ObjectMeta{Name: shop},
		Spec: gateway.HTTPRouteSpec{
			CommonRouteSpec: gateway.CommonRouteSpec{ParentRefs: []gateway.ParentReference{{
				Group: ptr.To[gateway.Group](""), Kind: ptr.To[gateway.Kind]("Service"), Name: shop,
			}}},
			Rules: []gateway.HTTPRouteRule{
				{
					Matches:     []gateway.HTTPRouteMatch{{Headers: []gateway.HTTPHeaderMatch{{Name: "x-team", Value: "checkout"}}}},
					BackendRefs: backend("next"),
				},
				{
					Matches: below("/old"),
					Filters: []gateway.HTTPRouteFilter{{Type: gateway.HTTPRouteFilterURLRewrite, URLRewrite: &gateway.HTTPURLRewriteFilter{
						Path: &gateway.HTTPPathModifier{Type: gateway.PrefixMatchHTTPPathModifier, ReplacePrefixMatch: ptr.To("/new")},
					}}},
					BackendRefs: backend(shop),
				},
				{Matches: below("/half"), BackendRefs: backend(shop, "next")},
				{
					Filters: []gateway.HTTPRouteFilter{{Type: gateway.HTTPRouteFilterRequestMirror, RequestMirror: &gateway.HTTPRequestMirrorFilter{
						BackendRef: to("shadow"),
					}}},
					BackendRefs: backend(shop),
				},
			},
		},
	}
}

// accepted reports whether the mesh follows the route and found all that it names.
func accepted(route *gateway.HTTPRoute) bool {
	return slices.ContainsFunc(route.Status.Parents, func(p gateway.RouteParentStatus) bool {
		return p.ControllerName == "sluice.dev/mesh" &&
			meta.IsStatusConditionTrue(p.Conditions, string(gateway.RouteConditionAccepted)) &&
			meta.IsStatusConditionTrue(p.Conditions, string(gateway.RouteConditionResolvedRefs))
	})
}

// fetch asks the shop for a path and returns the path that arrived, and the version that answered.
func (w *world) fetch(path string, headers map[string]string) (arrived, version string, err error) {
	a, err := w.load.Fetch(w.ctx, "http://"+shop+path, headers)
	if err != nil {
		return "", "", err
	}
	if a.Header.Get(hop.HeaderVersion) == "" {
		return "", "", nil // answered by no shop
	}
	var body struct{ Path string }
	if err := json.Unmarshal([]byte(a.Body), &body); err != nil {
		return "", "", err
	}
	return body.Path, a.Header.Get(hop.HeaderVersion), nil
}

// Clients with cookies come, visit several times and go. Who has seen the canary is never sent back to
// stable, and the release is promoted all the same.
func TestSticky(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setting{rate: 200, cookies: 400, visits: 10, before: []client.Object{&v1alpha1.TrafficPolicy{
		ObjectMeta: metav1.ObjectMeta{Name: shop},
		Spec: v1alpha1.TrafficPolicySpec{
			TargetRef: v1alpha1.TargetRef{Name: shop},
			Sticky:    &v1alpha1.StickyPolicy{Cookie: "seen", TTL: &metav1.Duration{Duration: time.Hour}},
		},
	}}})
	w.release(v2)
	w.reaches(1, 20)
	a, err := w.load.Fetch(w.ctx, "http://"+shop+"/", nil)
	w.must(err)
	if cookie := a.Header.Get("Set-Cookie"); !strings.HasPrefix(cookie, "seen=") || !strings.Contains(cookie, "Max-Age=3600") {
		t.Errorf("cookie of a newcomer: %q", cookie)
	}
	w.reaches(1, 50)
	w.ends(1, v1alpha1.OutcomePromoted)
	w.served("v2")
	if s := w.nothingLost(w.load); s.Total.Returned != 0 {
		t.Errorf("%d answers sent a client back to a version that it had left, of %d", s.Total.Returned, s.Total.Done)
	}
	w.ordinary()
}
