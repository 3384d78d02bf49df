package meshsync

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"github.com/sluice-mesh/sluice/api/v1alpha1"
	"github.com/sluice-mesh/sluice/mesh/ir"
)

var compareAddresses = cmpopts.EquateComparable(netip.Addr{})

func service(ports ...corev1.ServicePort) *corev1.Service {
	return &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "cart"},
		Spec:       corev1.ServiceSpec{ClusterIPs: []string{"10.0.0.9"}, Ports: ports, Selector: map[string]string{"app": "cart"}},
	}
}

func slice(endpoints ...discoveryv1.Endpoint) *discoveryv1.EndpointSlice {
	return &discoveryv1.EndpointSlice{
		AddressType: discoveryv1.AddressTypeIPv4, Endpoints: endpoints,
		Ports: []discoveryv1.EndpointPort{{Name: ptr.To("http"), Port: ptr.To[int32](8080)}},
	}
}

func endpoint(address, pod string, conditions discoveryv1.EndpointConditions) discoveryv1.Endpoint {
	return discoveryv1.Endpoint{
		Addresses: []string{address}, Conditions: conditions, Zone: ptr.To("a"),
		TargetRef: &corev1.ObjectReference{Kind: "Pod", UID: types.UID(pod)},
	}
}

var (
	ready       = discoveryv1.EndpointConditions{Ready: ptr.To(true)}
	notReady    = discoveryv1.EndpointConditions{Ready: ptr.To(false), Serving: ptr.To(false)}
	terminating = discoveryv1.EndpointConditions{Ready: ptr.To(false), Serving: ptr.To(true), Terminating: ptr.To(true)}
)

func releasing(phase v1alpha1.Phase, weight int32) *v1alpha1.Rollout {
	return &v1alpha1.Rollout{
		ObjectMeta: metav1.ObjectMeta{UID: "owner"},
		Status: v1alpha1.RolloutStatus{
			Phase: phase, Stable: &v1alpha1.Revision{Hash: "old"}, Canary: &v1alpha1.Revision{Hash: "new"},
			Weight: v1alpha1.WeightStatus{Desired: weight, Epoch: 7},
		},
	}
}

func TestTranslateGroupsEndpointsByTheirPodsRevision(t *testing.T) {
	revisions := map[types.UID]string{"a": "old", "b": "old", "c": "new", "d": "old"}
	got, wanted := Translate(Input{
		Service: service(corev1.ServicePort{Name: "http", Port: 80}),
		Slices: []*discoveryv1.EndpointSlice{
			slice(endpoint("10.1.0.2", "b", ready), endpoint("10.1.0.1", "a", ready), endpoint("10.1.0.8", "unknown", ready), endpoint("10.1.0.9", "a", notReady)),
			slice(endpoint("10.1.0.3", "c", ready), endpoint("10.1.0.1", "a", ready), endpoint("10.1.0.4", "d", terminating)),
		},
		Revision: func(uid types.UID) (string, bool) { r, known := revisions[uid]; return r, known },
		Rollout:  releasing(v1alpha1.PhaseProgressing, 10),
	})
	if !wanted {
		t.Fatal("the service is not part of the mesh")
	}
	at := func(address string, draining bool) ir.Endpoint {
		return ir.Endpoint{Address: netip.MustParseAddr(address), Ports: map[string]uint16{"http": 8080}, Zone: "a", Draining: draining}
	}
	want := ir.Service{
		Namespace: "shop", Name: "cart", Addresses: []netip.Addr{netip.MustParseAddr("10.0.0.9")},
		Ports: []ir.Port{{Name: "http", Number: 80, Protocol: ir.HTTP}},
		Subsets: []ir.Subset{
			{Name: "new", Endpoints: []ir.Endpoint{at("10.1.0.3", false)}},
			{Name: "old", Endpoints: []ir.Endpoint{at("10.1.0.1", false), at("10.1.0.2", false), at("10.1.0.4", true)}},
		},
		Split: ir.Split{Owner: "owner", Epoch: 7, Weight: 10, Stable: "old", Canary: "new",
			Shares: []ir.Share{{Subset: "new", Weight: 10}, {Subset: "old", Weight: 90}}},
	}
	if diff := cmp.Diff(want, got, compareAddresses); diff != "" {
		t.Errorf("unexpected service (-want +got):\n%s", diff)
	}
	if err := ir.Validate(ir.Mesh{Services: []ir.Service{got}}); err != nil {
		t.Errorf("the mesh is not valid: %v", err)
	}
}

func TestTranslateSplit(t *testing.T) {
	both := []*discoveryv1.EndpointSlice{slice(endpoint("10.1.0.1", "a", ready), endpoint("10.1.0.3", "c", ready))}
	all := append(slices.Clone(both), slice(endpoint("10.1.0.4", "d", ready)))
	onlyStable := []*discoveryv1.EndpointSlice{slice(endpoint("10.1.0.1", "a", ready))}
	revision := func(uid types.UID) (string, bool) {
		return map[types.UID]string{"a": "old", "c": "new", "d": "young"}[uid], true
	}
	baseline := func(weight, share int32) *v1alpha1.Rollout {
		r := releasing(v1alpha1.PhaseProgressing, weight)
		r.Status.Baseline, r.Status.Weight.Baseline = &v1alpha1.Revision{Hash: "young"}, share
		return r
	}
	with := func(split ir.Split, share uint32) ir.Split {
		split.Owner, split.Epoch, split.Stable, split.Canary = "owner", 7, "old", "new"
		split.Baseline, split.BaselineWeight = "young", share
		return split
	}
	cases := map[string]struct {
		rollout *v1alpha1.Rollout
		slices  []*discoveryv1.EndpointSlice
		want    ir.Split
	}{
		"no rollout":                            {nil, both, ir.Split{}},
		"healthy":                               {releasing(v1alpha1.PhaseHealthy, 0), both, ir.Split{Owner: "owner", Epoch: 7}},
		"an unknown phase keeps its split":      {releasing("Someday", 50), both, ir.Split{Owner: "owner", Epoch: 7, Weight: 50, Stable: "old", Canary: "new", Shares: []ir.Share{{Subset: "new", Weight: 50}, {Subset: "old", Weight: 50}}}},
		"rolled back":                           {releasing(v1alpha1.PhaseRolledBack, 0), both, ir.Split{Owner: "owner", Epoch: 7}},
		"starting at zero":                      {releasing(v1alpha1.PhaseStarting, 0), both, ir.Split{Owner: "owner", Epoch: 7, Stable: "old", Canary: "new", Shares: []ir.Share{{Subset: "old", Weight: 100}}}},
		"baking":                                {releasing(v1alpha1.PhaseBaking, 100), both, ir.Split{Owner: "owner", Epoch: 7, Weight: 100, Stable: "old", Canary: "new", Shares: []ir.Share{{Subset: "new", Weight: 100}}}},
		"canary without endpoints has no share": {releasing(v1alpha1.PhaseProgressing, 30), onlyStable, ir.Split{Owner: "owner", Epoch: 7, Weight: 30, Stable: "old", Canary: "new", Shares: []ir.Share{{Subset: "old", Weight: 100}}}},
		"with a baseline": {baseline(20, 20), all, with(ir.Split{Weight: 20,
			Shares: []ir.Share{{Subset: "new", Weight: 20}, {Subset: "old", Weight: 60}, {Subset: "young", Weight: 20}}}, 20)},
		"a baseline without endpoints": {baseline(20, 20), both, with(ir.Split{Weight: 20,
			Shares: []ir.Share{{Subset: "new", Weight: 20}, {Subset: "old", Weight: 80}}}, 20)},
		"a baseline without a share": {baseline(0, 0), all, with(ir.Split{Shares: []ir.Share{{Subset: "old", Weight: 100}}}, 0)},
	}
	for name, test := range cases {
		t.Run(name, func(t *testing.T) {
			got, _ := Translate(Input{Service: service(corev1.ServicePort{Port: 80}), Slices: test.slices, Revision: revision, Rollout: test.rollout})
			if diff := cmp.Diff(test.want, got.Split); diff != "" {
				t.Errorf("unexpected split (-want +got):\n%s", diff)
			}
		})
	}
}

func TestProtocol(t *testing.T) {
	app := func(protocol string) corev1.ServicePort { return corev1.ServicePort{AppProtocol: &protocol} }
	cases := map[string]struct {
		port corev1.ServicePort
		want ir.Protocol
	}{
		"nothing declared":          {corev1.ServicePort{}, ir.Undeclared},
		"a name that says nothing":  {corev1.ServicePort{Name: "web"}, ir.Undeclared},
		"name http":                 {corev1.ServicePort{Name: "http"}, ir.HTTP},
		"name with a suffix":        {corev1.ServicePort{Name: "http-admin"}, ir.HTTP},
		"name grpc":                 {corev1.ServicePort{Name: "grpc"}, ir.GRPC},
		"name http2":                {corev1.ServicePort{Name: "http2-a"}, ir.HTTP2},
		"name tcp":                  {corev1.ServicePort{Name: "tcp-a"}, ir.TCP},
		"name redis":                {corev1.ServicePort{Name: "redis"}, ir.TCP},
		"https is not looked into":  {corev1.ServicePort{Name: "https"}, ir.TLS},
		"appProtocol before name":   {corev1.ServicePort{Name: "http", AppProtocol: ptr.To("tcp")}, ir.TCP},
		"the version of HTTP":       {app("http/1.1"), ir.HTTP},
		"Kubernetes' own h2c":       {app("kubernetes.io/h2c"), ir.HTTP2},
		"gRPC-Web":                  {app("grpc-web"), ir.GRPC},
		"WebSocket is HTTP":         {app("kubernetes.io/ws"), ir.HTTP},
		"WebSocket over TLS":        {app("kubernetes.io/wss"), ir.TLS},
		"appProtocol in upper case": {app("HTTP"), ir.HTTP},
		"somebody's own protocol":   {app("example.com/gizmo"), ir.Undeclared},
	}
	for name, test := range cases {
		t.Run(name, func(t *testing.T) {
			if got := protocol(test.port); got != test.want {
				t.Errorf("got %s, want %s", got, test.want)
			}
		})
	}
}

func TestTranslateLeavesOut(t *testing.T) {
	external := service(corev1.ServicePort{Port: 80})
	external.Spec.Type = corev1.ServiceTypeExternalName
	cases := map[string]*corev1.Service{
		"an external name": external,
		"only UDP":         service(corev1.ServicePort{Port: 53, Protocol: corev1.ProtocolUDP}),
	}
	for name, s := range cases {
		t.Run(name, func(t *testing.T) {
			if _, wanted := Translate(Input{Service: s}); wanted {
				t.Error("it is part of the mesh")
			}
		})
	}
}

// An address belongs to one pod at a time, and to the Service's own family.
func TestTranslateAddresses(t *testing.T) {
	revision := func(uid types.UID) (string, bool) {
		return map[types.UID]string{"gone": "old", "here": "new", "six": "new"}[uid], true
	}
	v6 := slice(endpoint("fd00::3", "six", ready))
	v6.AddressType = discoveryv1.AddressTypeIPv6
	for name, order := range map[string][]*discoveryv1.EndpointSlice{
		"the one that leaves first": {slice(endpoint("10.1.0.3", "gone", terminating)), slice(endpoint("10.1.0.3", "here", ready)), v6},
		"the one that leaves last":  {v6, slice(endpoint("10.1.0.3", "here", ready)), slice(endpoint("10.1.0.3", "gone", terminating))},
	} {
		t.Run(name, func(t *testing.T) {
			s := service(corev1.ServicePort{Name: "http", Port: 80})
			s.Spec.IPFamilies = []corev1.IPFamily{corev1.IPv4Protocol, corev1.IPv6Protocol}
			got, _ := Translate(Input{Service: s, Slices: order, Revision: revision})
			want := []ir.Subset{{Name: "new", Endpoints: []ir.Endpoint{{Address: netip.MustParseAddr("10.1.0.3"), Ports: map[string]uint16{"http": 8080}, Zone: "a"}}}}
			if diff := cmp.Diff(want, got.Subsets, compareAddresses); diff != "" {
				t.Errorf("unexpected subsets (-want +got):\n%s", diff)
			}
		})
	}
}
