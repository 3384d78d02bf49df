package observe

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"net/netip"
	"regexp"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/openzipkin/zipkin-go/model"
	commonv1 "go.opentelemetry.io/proto/otlp/common/v1"
	tracev1 "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/sluice-mesh/sluice/mesh/ir"
)

var otlpName = regexp.MustCompile(`"((?:trace|span|parentSpan)Id)":"([0-9a-f]*)"`)

// decodeOTLP reads a message strictly: no field that is not there, no value of another kind. OTLP's JSON is
// Protobuf's but for the names of traces and spans, which are hexadecimal rather than in base64. TracesData
// has the fields of ExportTraceServiceRequest, whose package would need gRPC's gateway.
func decodeOTLP(t *testing.T, message []byte) *tracev1.TracesData {
	t.Helper()
	standard := otlpName.ReplaceAllFunc(message, func(field []byte) []byte {
		match := otlpName.FindSubmatch(field)
		raw, err := hex.DecodeString(string(match[2]))
		if err != nil {
			t.Fatal(err)
		}
		return []byte(`"` + string(match[1]) + `":"` + base64.StdEncoding.EncodeToString(raw) + `"`)
	})
	var read tracev1.TracesData
	if err := protojson.Unmarshal(standard, &read); err != nil {
		t.Fatalf("%v: %s", err, message)
	}
	return &read
}

func otlpSpans(t *testing.T, message []byte) []*tracev1.Span {
	t.Helper()
	return decodeOTLP(t, message).GetResourceSpans()[0].GetScopeSpans()[0].GetSpans()
}

func attributesOf(list []*commonv1.KeyValue) map[string]any {
	read := map[string]any{}
	for _, a := range list {
		switch v := a.GetValue().GetValue().(type) {
		case *commonv1.AnyValue_StringValue:
			read[a.GetKey()] = v.StringValue
		case *commonv1.AnyValue_IntValue:
			read[a.GetKey()] = v.IntValue
		}
	}
	return read
}

func grpcRecord() *Record {
	r := someRecord()
	r.Inbound, r.Protocol, r.Method, r.Path = true, "HTTP/2", "POST", "/shop.Cart/Add"
	r.Code, r.GRPC, r.Tries, r.Authority, r.Reason = 200, 5, 1, "cart", ""
	return r
}

var someSpan = Span{trace: traceID{15: 0xab}, id: spanID{7: 0xcd}, parent: spanID{7: 0xef}}

func TestOTLP(t *testing.T) {
	before, after := otlpFrame(own)
	message := append(appendOTLP(before, &someSpan, someRecord()), ',')
	root := someSpan
	root.parent = spanID{}
	message = append(appendOTLP(message, &root, grpcRecord()), after...)

	read := decodeOTLP(t, message)
	resource := read.GetResourceSpans()[0]
	if diff := cmp.Diff(map[string]any{
		"service.name": "front", "service.namespace": "web", "service.instance.id": "front-1",
		"k8s.namespace.name": "web", "k8s.pod.name": "front-1",
		"telemetry.sdk.name": "sluice", "telemetry.sdk.version": "1.2.3", "telemetry.sdk.language": "go",
	}, attributesOf(resource.GetResource().GetAttributes())); diff != "" {
		t.Errorf("resource (-want +got):\n%s", diff)
	}
	scope := resource.GetScopeSpans()[0]
	if scope.GetScope().GetName() != "sluice-proxy" || scope.GetScope().GetVersion() != "1.2.3" || scope.GetSchemaUrl() == "" {
		t.Errorf("scope %v", scope.GetScope())
	}
	client, server := scope.GetSpans()[0], scope.GetSpans()[1]

	begun := uint64(time.Date(2026, 1, 2, 3, 4, 5, 60_000, time.UTC).UnixNano())
	if hex.EncodeToString(client.GetTraceId()) != someSpan.trace.String() || hex.EncodeToString(client.GetSpanId()) != someSpan.id.String() ||
		hex.EncodeToString(client.GetParentSpanId()) != someSpan.parent.String() || client.GetKind() != tracev1.Span_SPAN_KIND_CLIENT ||
		client.GetName() != "GET" || client.GetStartTimeUnixNano() != begun || client.GetEndTimeUnixNano() != begun+1_500_000 ||
		client.GetStatus().GetCode() != tracev1.Status_STATUS_CODE_ERROR || client.GetStatus().GetMessage() != "no endpoint takes requests" {
		t.Errorf("client's span %v", client)
	}
	if diff := cmp.Diff(map[string]any{
		"http.request.method": "GET", "http.response.status_code": int64(503), "url.scheme": "http", "url.path": "/cart",
		"url.full": "http://cart.shop:8080/cart", "server.address": "cart.shop", "server.port": int64(8080),
		"network.protocol.name": "http", "network.protocol.version": "1.1", "http.request.resend_count": int64(1),
		"network.peer.address": "10.0.0.2", "network.peer.port": int64(80), "user_agent.original": "curl/8",
		"http.request.body.size": int64(12), "http.response.body.size": int64(34), "error.type": "503",
		"sluice.service": "shop/cart", "sluice.revision": "v2", "sluice.rule": "HTTPRoute/shop/cart/0", "sluice.request_id": "abc",
	}, attributesOf(client.GetAttributes())); diff != "" {
		t.Errorf("client's attributes (-want +got):\n%s", diff)
	}

	if server.GetKind() != tracev1.Span_SPAN_KIND_SERVER || server.GetName() != "shop.Cart/Add" || len(server.GetParentSpanId()) != 0 ||
		server.GetStatus().GetCode() != tracev1.Status_STATUS_CODE_UNSET {
		t.Errorf("server's span %v", server)
	}
	if diff := cmp.Diff(map[string]any{
		"http.request.method": "POST", "http.response.status_code": int64(200), "url.scheme": "http", "url.path": "/shop.Cart/Add",
		"server.address": "cart", "server.port": int64(80), "network.protocol.name": "http", "network.protocol.version": "2",
		"client.address": "10.0.0.1", "network.peer.address": "10.0.0.1", "network.peer.port": int64(40000),
		"user_agent.original": "curl/8", "http.request.body.size": int64(12), "http.response.body.size": int64(34),
		"rpc.system": "grpc", "rpc.service": "shop.Cart", "rpc.method": "Add", "rpc.grpc.status_code": int64(5),
		"sluice.service": "shop/cart", "sluice.revision": "v2", "sluice.rule": "HTTPRoute/shop/cart/0", "sluice.request_id": "abc",
	}, attributesOf(server.GetAttributes())); diff != "" {
		t.Errorf("server's attributes (-want +got):\n%s", diff)
	}
}

func TestZipkin(t *testing.T) {
	short := someSpan
	short.short, short.debug, short.parent = true, true, spanID{}
	message := append(appendZipkin([]byte{'['}, own, &someSpan, someRecord()), ',')
	message = append(appendZipkin(message, own, &short, grpcRecord()), ']')
	var read []model.SpanModel
	if err := json.Unmarshal(message, &read); err != nil {
		t.Fatalf("%v: %s", err, message)
	}
	client, server := read[0], read[1]
	if client.TraceID != (model.TraceID{Low: 0xab}) || client.ID != 0xcd || client.ParentID == nil || *client.ParentID != 0xef ||
		client.Kind != model.Client || client.Name != "get" || client.Duration != 1500*time.Microsecond || client.Debug ||
		!client.Timestamp.Equal(time.Date(2026, 1, 2, 3, 4, 5, 60_000, time.UTC)) {
		t.Errorf("client's span %+v", client)
	}
	if l, r := client.LocalEndpoint, client.RemoteEndpoint; l.ServiceName != "front" || l.IPv4.String() != "10.0.0.1" || l.Port != 40000 ||
		r.ServiceName != "shop/cart" || r.IPv4.String() != "10.0.0.2" || r.Port != 80 {
		t.Errorf("client's endpoints %v, %v", l, r)
	}
	if diff := cmp.Diff(map[string]string{
		"http.request.method": "GET", "http.response.status_code": "503", "url.scheme": "http", "url.path": "/cart",
		"url.full": "http://cart.shop:8080/cart", "server.address": "cart.shop", "server.port": "8080",
		"network.protocol.name": "http", "network.protocol.version": "1.1", "http.request.resend_count": "1",
		"network.peer.address": "10.0.0.2", "network.peer.port": "80", "user_agent.original": "curl/8",
		"http.request.body.size": "12", "http.response.body.size": "34", "error.type": "503", "error": "no endpoint takes requests",
		"sluice.service": "shop/cart", "sluice.revision": "v2", "sluice.rule": "HTTPRoute/shop/cart/0", "sluice.request_id": "abc",
		"k8s.namespace.name": "web", "k8s.pod.name": "front-1",
	}, client.Tags); diff != "" {
		t.Errorf("client's tags (-want +got):\n%s", diff)
	}
	if server.Kind != model.Server || server.Name != "shop.cart/add" || server.ParentID != nil || !server.Debug ||
		server.LocalEndpoint.IPv4.String() != "10.0.0.2" || server.RemoteEndpoint.ServiceName != "" || server.Tags["error"] != "" {
		t.Errorf("server's span %+v", server)
	}
}

func TestZipkinsEndpoints(t *testing.T) {
	r := someRecord()
	r.Endpoint, r.Service, r.Duration = netip.AddrPort{}, "", 0
	r.Caller = netip.MustParseAddrPort("[2001:db8::1]:1234")
	var read model.SpanModel
	if err := json.Unmarshal(appendZipkin(nil, own, &someSpan, r), &read); err != nil {
		t.Fatal(err)
	}
	if read.RemoteEndpoint != nil || read.LocalEndpoint.IPv6.String() != "2001:db8::1" || read.Duration != time.Microsecond {
		t.Errorf("%+v", read)
	}
}

func TestErrorType(t *testing.T) {
	for name, c := range map[string]struct {
		change       func(*Record)
		client, serv string
	}{
		"ok":             {func(r *Record) { r.Code = 200 }, "", ""},
		"not found":      {func(r *Record) { r.Code = 404 }, "404", ""},
		"gone away":      {func(r *Record) { r.Code = 499 }, "499", ""},
		"broken":         {func(r *Record) { r.Code = 500 }, "500", "500"},
		"unreached":      {func(r *Record) { r.Code = 0 }, "unreached", "unreached"},
		"gRPC ok":        {func(r *Record) { r.Code, r.GRPC = 200, 0 }, "", ""},
		"gRPC, theirs":   {func(r *Record) { r.Code, r.GRPC = 200, 5 }, "5", ""},
		"gRPC, broken":   {func(r *Record) { r.Code, r.GRPC = 200, 13 }, "13", "13"},
		"gRPC, too late": {func(r *Record) { r.Code, r.GRPC = 200, 4 }, "4", "4"},
	} {
		r := someRecord()
		c.change(r)
		if got := errorType(r); got != c.client {
			t.Errorf("%s: the client's is %q, want %q", name, got, c.client)
		}
		r.Inbound = true
		if got := errorType(r); got != c.serv {
			t.Errorf("%s: the server's is %q, want %q", name, got, c.serv)
		}
	}
}

func TestNames(t *testing.T) {
	r := &Record{Method: "BREW", GRPC: -1}
	if got := spanName(r); got != "HTTP" {
		t.Errorf("span %q", got)
	}
	var list otlpAttributes
	describe(r, &list)
	var read struct {
		Attributes []json.RawMessage
	}
	if err := json.Unmarshal([]byte(`{"Attributes":[`+string(list.dst)+`]}`), &read); err != nil || len(read.Attributes) < 4 {
		t.Errorf("%v: %s", err, list.dst)
	}
	for authority, want := range map[string]struct {
		host string
		port int64
	}{
		"a": {"a", 80}, "a:81": {"a", 81}, "[::1]:81": {"::1", 81}, "[::1]": {"::1", 80}, "a:b": {"a", 80}, "": {"", 80},
	} {
		if host, port := hostPort(authority); host != want.host || port != want.port {
			t.Errorf("%s is %s, %d", authority, host, port)
		}
	}
}

func BenchmarkSpan(b *testing.B) {
	for name, format := range map[string]ir.TraceFormat{"otlp": ir.OTLP, "zipkin": ir.Zipkin} {
		e, r, dst := &exporter{format: format, resource: own}, someRecord(), []byte(nil)
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				dst = e.append(dst[:0], &someSpan, r)
			}
		})
	}
}
