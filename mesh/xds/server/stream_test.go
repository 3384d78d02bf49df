package server

import (
	"net/netip"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/envoyproxy/go-control-plane/pkg/cache/v3"
	protocol "github.com/envoyproxy/go-control-plane/pkg/server/stream/v3"

	"github.com/sluice-mesh/sluice/mesh/ir"
	"github.com/sluice-mesh/sluice/mesh/xds"
)

// go-control-plane drops a state-of-the-world answer that crosses with a request. What was in it must be
// sent with the next one, and nothing may stay behind that waits for it.
func TestDroppedAnswer(t *testing.T) {
	s := New(Options{})
	at := func(epoch int64) ir.Mesh {
		return ir.Mesh{Services: []ir.Service{{
			Namespace: "default", Name: "echo",
			Addresses: []netip.Addr{netip.MustParseAddr("10.96.0.10")},
			Ports:     []ir.Port{{Number: 80}},
			Split:     ir.Split{Owner: "u1", Epoch: epoch},
		}}}
	}
	if err := s.Publish(at(1)); err != nil {
		t.Fatal(err)
	}
	stream := s.open(false, func() {})
	ask := func(nonce string) chan cache.Response {
		t.Helper()
		request := &discoveryv3.DiscoveryRequest{
			Node: &corev3.Node{Id: "grpc"}, TypeUrl: xds.RouteType,
			ResourceNames: []string{"default/echo:80"}, ResponseNonce: nonce,
		}
		if err := stream.OnStreamRequest(1, request); err != nil {
			t.Fatal(err)
		}
		answers := make(chan cache.Response, 1)
		if _, err := stream.CreateWatch(request, protocol.NewSotwSubscription(request.ResourceNames, false), answers); err != nil {
			t.Fatal(err)
		}
		return answers
	}
	send := func(answers chan cache.Response, nonce string) {
		t.Helper()
		if len(answers) == 0 {
			t.Fatal("no answer")
		}
		answer := <-answers
		response, err := answer.GetDiscoveryResponse()
		if err != nil {
			t.Fatal(err)
		}
		response.Nonce = nonce
		stream.OnStreamResponse(answer.GetContext(), 1, answer.GetRequest(), response)
	}
	send(ask(""), "1")
	open := ask("1")
	if !stream.settled() {
		t.Fatal("not settled with everything acknowledged")
	}
	if err := s.Publish(at(2)); err != nil {
		t.Fatal(err)
	}
	if len(open) != 1 {
		t.Fatal("a change was not sent")
	}
	// The answer in open is never read.
	send(ask("1"), "2")
	if ask("2"); !stream.settled() {
		t.Fatal("not settled after the answer that came instead")
	}
}
