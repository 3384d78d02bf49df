package client

import (
	"errors"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	statuspb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/structpb"
)

// What we send is read by the generated types as we mean it.
func TestRequestAgainstGenerated(t *testing.T) {
	for name, c := range map[string]struct {
		ours   request
		theirs *discoveryv3.DeltaDiscoveryRequest
	}{
		"first": {
			request{
				node:    &node{id: "p.default", cluster: "default/front", agent: agent, metadata: map[string]string{"a": "b", "empty": ""}},
				typeURL: "type", subscribe: []string{"to/10.0.0.1", "settings"}, versions: map[string]string{"settings": "v1", "none": ""},
			},
			&discoveryv3.DeltaDiscoveryRequest{
				Node: &corev3.Node{Id: "p.default", Cluster: "default/front", UserAgentName: agent, Metadata: &structpb.Struct{Fields: map[string]*structpb.Value{
					"a": structpb.NewStringValue("b"), "empty": structpb.NewStringValue(""),
				}}},
				TypeUrl: "type", ResourceNamesSubscribe: []string{"to/10.0.0.1", "settings"},
				InitialResourceVersions: map[string]string{"settings": "v1", "none": ""},
			},
		},
		"acknowledgement": {
			request{typeURL: "type", nonce: "17"},
			&discoveryv3.DeltaDiscoveryRequest{TypeUrl: "type", ResponseNonce: "17"},
		},
		"rejection": {
			request{typeURL: "type", nonce: "17", refusal: "no"},
			&discoveryv3.DeltaDiscoveryRequest{TypeUrl: "type", ResponseNonce: "17", ErrorDetail: &statuspb.Status{Code: invalidArgument, Message: "no"}},
		},
		"change of names": {
			request{typeURL: "type", subscribe: []string{"a"}, unsubscribe: []string{"b", "c"}},
			&discoveryv3.DeltaDiscoveryRequest{TypeUrl: "type", ResourceNamesSubscribe: []string{"a"}, ResourceNamesUnsubscribe: []string{"b", "c"}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			var got discoveryv3.DeltaDiscoveryRequest
			if err := (proto.UnmarshalOptions{DiscardUnknown: false}).Unmarshal(c.ours.encode(), &got); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.theirs, &got, protocmp.Transform()); diff != "" {
				t.Errorf("read (-want +got):\n%s", diff)
			}
		})
	}
}

// What the generated types write we read as it is meant, and pass over what we do not know.
func TestResponseAgainstGenerated(t *testing.T) {
	theirs := &discoveryv3.DeltaDiscoveryResponse{
		SystemVersionInfo: "not for us", TypeUrl: "type", Nonce: "n",
		Resources: []*discoveryv3.Resource{
			{Name: "a", Version: "1", Resource: &anypb.Any{TypeUrl: "type", Value: []byte("body")}, Aliases: []string{"x"}, Ttl: durationpb.New(5)},
			{Name: "b"},
		},
		RemovedResources: []string{"c", "d"},
		ControlPlane:     &corev3.ControlPlane{Identifier: "replica"},
	}
	body, err := proto.Marshal(theirs)
	if err != nil {
		t.Fatal(err)
	}
	got, err := decodeResponse(body)
	if err != nil {
		t.Fatal(err)
	}
	expected := &response{
		typeURL: "type", nonce: "n", removed: []string{"c", "d"},
		resources: []resource{{name: "a", version: "1", typeURL: "type", body: []byte("body")}, {name: "b"}},
	}
	if diff := cmp.Diff(expected, got, unexported); diff != "" {
		t.Errorf("read (-want +got):\n%s", diff)
	}
	var back discoveryv3.DeltaDiscoveryResponse
	if err := proto.Unmarshal(got.encode(), &back); err != nil {
		t.Fatal(err)
	}
	theirs.SystemVersionInfo, theirs.ControlPlane = "", nil
	theirs.Resources[0].Aliases, theirs.Resources[0].Ttl = nil, nil
	if diff := cmp.Diff(theirs, &back, protocmp.Transform()); diff != "" {
		t.Errorf("written (-want +got):\n%s", diff)
	}
}

var unexported = cmp.AllowUnexported(response{}, resource{})

// Whatever comes, nothing panics; what the generated types can read we read as they do, and what we write of
// it is read again.
func FuzzResponse(f *testing.F) {
	for _, seed := range []*discoveryv3.DeltaDiscoveryResponse{
		{},
		{TypeUrl: "type", Nonce: "n", RemovedResources: []string{"c"}, ControlPlane: &corev3.ControlPlane{Identifier: "r"}},
		{Resources: []*discoveryv3.Resource{{Name: "a", Version: "1", Resource: &anypb.Any{TypeUrl: "t", Value: []byte{1}}, Ttl: durationpb.New(5)}}},
	} {
		body, err := proto.Marshal(seed)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(body)
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		got, err := decodeResponse(body)
		var theirs discoveryv3.DeltaDiscoveryResponse
		if theirErr := proto.Unmarshal(body, &theirs); err != nil || theirErr != nil {
			// They also check what we pass over.
			if theirErr == nil {
				t.Fatalf("we cannot read what is well formed: %v", err)
			}
			return
		}
		if got.typeURL != theirs.GetTypeUrl() || got.nonce != theirs.GetNonce() ||
			!cmp.Equal(got.removed, theirs.GetRemovedResources(), cmpopts.EquateEmpty()) || len(got.resources) != len(theirs.GetResources()) {
			t.Fatalf("read %+v, want %v", got, &theirs)
		}
		for i, r := range theirs.GetResources() {
			one := got.resources[i]
			if one.name != r.GetName() || one.version != r.GetVersion() || one.typeURL != r.GetResource().GetTypeUrl() || string(one.body) != string(r.GetResource().GetValue()) {
				t.Fatalf("read %+v, want %v", one, r)
			}
		}
		again, err := decodeResponse(got.encode())
		if err != nil || !cmp.Equal(got, again, unexported, cmpopts.EquateEmpty()) {
			t.Fatalf("read again %+v (%v), want %+v", again, err, got)
		}
	})
}

func TestMalformedResponses(t *testing.T) {
	for name, body := range map[string]string{
		"cut":          "\x12\x05ab",
		"no tag":       "\xff",
		"wrong number": "\x00\x01",
		"not UTF-8":    "\x22\x01\xff",
		"end of group": "\x0c",
		"in resource":  "\x12\x02\x0a\x05",
	} {
		if got, err := decodeResponse([]byte(body)); err == nil {
			t.Errorf("%s: read %+v", name, got)
		}
	}
	if _, err := decodeResponse([]byte("\x22\x01\xff")); !errors.Is(err, errText) {
		t.Errorf("not UTF-8: %v", err)
	}
}
