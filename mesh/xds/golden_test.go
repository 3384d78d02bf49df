package xds_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/sluice-mesh/sluice/mesh/ir"
	"github.com/sluice-mesh/sluice/mesh/ir/irtest"
	"github.com/sluice-mesh/sluice/mesh/xds"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// orders is in the middle of a release, and what the routes of others may lead to.
func orders() ir.Service {
	service := release()
	service.Name = "orders"
	return service.Normalise()
}

// withRoutes has one route for each thing that routes can do.
func withRoutes() ir.Service {
	service := release()
	service.Ports = service.Ports[:1]
	delete(service.Subsets[1].Endpoints[0].Ports, "grpc-new")
	below := func(path string) []ir.Match {
		return []ir.Match{{Path: ir.PathMatch{Kind: ir.Prefix, Value: path}}}
	}
	set := func(value string) ir.HeaderChanges {
		return ir.HeaderChanges{Set: []ir.Header{{Name: "x-from", Value: value}}}
	}
	service.Routes = []ir.Route{
		{Name: "matches", Matches: []ir.Match{{
			Hosts: []string{"cart.example.com", "*.shop.example.com"}, Path: ir.PathMatch{Kind: ir.Regex, Value: "/v[12]/.*"}, Method: "GET",
			Headers: []ir.ValueMatch{{Name: "x-user", Kind: ir.Exact, Value: "a"}, {Name: "x-bot", Kind: ir.Prefix, Value: "b", Not: true}},
			Query:   []ir.ValueMatch{{Name: "q", Kind: ir.Present}},
			Cookies: []ir.ValueMatch{{Name: "c", Kind: ir.Exact, Value: "1"}},
		}}, Revision: ir.CanaryRevision},
		{Name: "redirect", Matches: below("/old"), Redirect: &ir.Redirect{Scheme: "https", Port: 8443, Path: ir.Path{Prefix: "/new", ReplacePrefix: true}, Status: 308}},
		{
			Name: "backends", Matches: below("/api"),
			Backends: []ir.Backend{
				{Service: "shop/cart", Port: 80, Weight: 1},
				{Service: "shop/orders", Port: 80, Weight: 2, RequestHeaders: set("100%")},
				{Service: "shop/gone", Port: 80, Weight: 1},
			},
			Rewrite:        &ir.Rewrite{Host: "inner", Path: ir.Path{ReplacePrefix: true}},
			RequestHeaders: ir.HeaderChanges{Add: []ir.Header{{Name: "x-from", Value: "mesh"}}, Remove: []string{"x-debug"}},
			Mirrors:        []ir.Mirror{{Service: "shop/orders", Port: 80, Share: 5_000}, {Service: "shop/gone", Port: 80, Share: 1}},
		},
		{Name: "weightless", Matches: below("/none"), Backends: []ir.Backend{{Service: "shop/cart", Port: 80}}},
		{
			Name: "faults", Matches: below("/faults"),
			Fault:           &ir.Fault{Delay: time.Second, DelayShare: 1_000, AbortStatus: 503, AbortGRPC: 14, AbortShare: 10_000},
			RateLimit:       &ir.RateLimit{Requests: 30, Per: time.Second, Burst: 5},
			ResponseHeaders: set("here"),
		},
		{
			Name: "times", Matches: []ir.Match{{Path: ir.PathMatch{Kind: ir.Exact, Value: "/times"}}},
			Timeouts: ir.Timeouts{Request: 10 * time.Second, PerTry: 1500 * time.Microsecond, Idle: time.Minute},
			Retry: &ir.Retry{
				Attempts: 3, On: []ir.RetryOn{ir.OnTimeout, ir.OnGatewayError, ir.OnStatus, ir.OnGRPC}, Statuses: []int{429}, GRPCStatuses: []int{10, 14},
				BackOff: 50 * time.Millisecond, MaxBackOff: time.Second, NonIdempotent: true,
			},
		},
	}
	return service
}

// withPolicy says everything that a policy can say.
func withPolicy() ir.Service {
	service := plain("cart")
	service.Ports = append(service.Ports, ir.Port{Name: "h2", Number: 81, Protocol: ir.HTTP2}, ir.Port{Name: "tls", Number: 443, Protocol: ir.TLS})
	service.Subsets[0].Endpoints[0].Zone = "zone-b"
	service.Subsets[0].Endpoints[1].Zone = "zone-a"
	service.Policy = ir.Policy{
		Balance: ir.Balance{
			Balancer: ir.RingHash, HashOn: ir.HashOn{Cookie: "id", CookieTTL: time.Hour}, SlowStart: time.Minute, AnyZone: true, Panic: 1,
		},
		Sticky:    &ir.Sticky{Cookie: "release"},
		Timeouts:  ir.Timeouts{Request: time.Minute, Connect: time.Second},
		Retry:     &ir.Retry{Attempts: 2, On: []ir.RetryOn{ir.On5xx}, Budget: 10, BudgetMin: 1},
		Limits:    ir.Limits{MaxConnections: 10, MaxPending: 20, MaxRequests: 30},
		Outlier:   &ir.Outlier{Consecutive: 3, Ejection: time.Minute, MaxPercent: 10},
		RateLimit: &ir.RateLimit{Requests: 100, Per: time.Hour},
		TLS:       &ir.UpstreamTLS{ServerName: "cart.shop", CA: irtest.CA},
	}
	return service
}

func TestGolden(t *testing.T) {
	headless := ir.Service{
		Namespace: "data", Name: "db",
		Ports:   []ir.Port{{Number: 5432}},
		Subsets: []ir.Subset{{Endpoints: []ir.Endpoint{{Address: netip.MustParseAddr("10.0.0.9"), Ports: map[string]uint16{"": 5432}}}}},
	}
	waiting := release()
	waiting.Subsets = waiting.Subsets[:1]
	waiting.Split = waiting.Split.WithShares(waiting.Subsets)
	cases := map[string]ir.Service{
		"routes":              withRoutes(),
		"policy":              withPolicy(),
		"plain":               plain("cart"),
		"release":             release(),
		"headless-tcp":        headless,
		"canary-has-no-pods":  waiting,
		"nobody-has-pods-yet": {Namespace: "shop", Name: "new", Ports: plain("x").Ports, Split: ir.Split{Owner: "6f2c", Epoch: 1, Weight: 5, Stable: "a", Canary: "b"}.WithShares(nil)},
	}
	for name, service := range cases {
		t.Run(name, func(t *testing.T) {
			resources, err := xds.EncodeServiceIn(service, func(key string) (ir.Service, bool) { return orders(), key == "shop/orders" })
			if err != nil {
				t.Fatal(err)
			}
			got := render(t, resources)
			path := filepath.Join("testdata", name+".yaml")
			if *update {
				if err := os.WriteFile(path, got, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), string(got)); diff != "" {
				t.Errorf("%s is not what is made now; -update rewrites it (-file +made):\n%s", path, diff)
			}
		})
	}
}

func render(t *testing.T, resources xds.Resources) []byte {
	t.Helper()
	var out bytes.Buffer
	encoder := yaml.NewEncoder(&out)
	encoder.SetIndent(2)
	for _, resource := range resources.Pack() {
		text, err := protojson.Marshal(resource.Message)
		if err != nil {
			t.Fatal(err)
		}
		var plain any
		if err := json.Unmarshal(text, &plain); err != nil {
			t.Fatal(err)
		}
		kind := resource.Body.TypeUrl[strings.LastIndex(resource.Body.TypeUrl, ".")+1:]
		if err := encoder.Encode(map[string]any{kind: plain}); err != nil {
			t.Fatal(err)
		}
	}
	return out.Bytes()
}
