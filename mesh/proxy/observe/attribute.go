package observe

import (
	"net"
	"net/netip"
	"strconv"
	"strings"
)

// attributes are what a span says of its request, by OpenTelemetry's semantic conventions for HTTP and gRPC
// (1.37), and what only we know under "sluice.". Queries are left out: they may hold secrets.
type attributes interface {
	text(name, value string) // none where the value is empty
	number(name string, value int64)
}

func describe(r *Record, into attributes) {
	method := knownMethod(r.Method)
	into.text("http.request.method", method)
	if method != r.Method {
		into.text("http.request.method_original", r.Method)
	}
	if r.Code > 0 {
		into.number("http.response.status_code", int64(r.Code))
	}
	path, _, _ := strings.Cut(r.Path, "?")
	into.text("url.scheme", "http")
	into.text("url.path", path)
	host, port := hostPort(r.Authority)
	into.text("server.address", host)
	into.number("server.port", port)
	name, version, _ := strings.Cut(r.Protocol, "/")
	into.text("network.protocol.name", strings.ToLower(name))
	into.text("network.protocol.version", version)
	peer := r.Endpoint
	if r.Inbound {
		peer = r.Caller
		into.text("client.address", addressOf(peer))
	} else {
		into.text("url.full", "http://"+r.Authority+path)
		if r.Tries > 1 {
			into.number("http.request.resend_count", int64(r.Tries-1))
		}
	}
	into.text("network.peer.address", addressOf(peer))
	if peer.IsValid() {
		into.number("network.peer.port", int64(peer.Port()))
	}
	into.text("user_agent.original", r.UserAgent)
	into.number("http.request.body.size", r.RequestBytes)
	into.number("http.response.body.size", r.ResponseBytes)
	if r.GRPC >= 0 {
		into.text("rpc.system", "grpc")
		service, procedure := rpc(path)
		into.text("rpc.service", service)
		into.text("rpc.method", procedure)
		into.number("rpc.grpc.status_code", int64(r.GRPC))
	}
	into.text("error.type", errorType(r))
	into.text("sluice.service", r.Service)
	into.text("sluice.revision", r.Revision)
	into.text("sluice.rule", r.Rule)
	into.text("sluice.request_id", r.RequestID)
}

// spanName is one of few: the gRPC procedure, else the method.
func spanName(r *Record) string {
	if r.GRPC >= 0 {
		return strings.TrimPrefix(r.Path, "/")
	}
	if method := knownMethod(r.Method); method != otherMethod {
		return method
	}
	return "HTTP"
}

const otherMethod = "_OTHER"

func knownMethod(method string) string {
	switch method {
	case "GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH":
		return method
	}
	return otherMethod
}

// errorType says why a span has failed; "": it has not. A server did not fail when the client is to blame.
func errorType(r *Record) string {
	switch {
	case r.Code == 0:
		return "unreached"
	case r.GRPC > 0:
		blamed := r.GRPC == 2 || r.GRPC == 4 || r.GRPC >= 12 && r.GRPC <= 15
		if blamed || !r.Inbound {
			return strconv.Itoa(r.GRPC)
		}
	case r.Code >= 500, r.Code >= 400 && !r.Inbound:
		return strconv.Itoa(r.Code)
	}
	return ""
}

func rpc(path string) (service, procedure string) {
	path = strings.TrimPrefix(path, "/")
	if i := strings.LastIndexByte(path, '/'); i >= 0 {
		return path[:i], path[i+1:]
	}
	return "", path
}

func addressOf(a netip.AddrPort) string {
	if !a.IsValid() {
		return ""
	}
	return a.Addr().Unmap().String()
}

func hostPort(authority string) (host string, port int64) {
	host, digits, err := net.SplitHostPort(authority)
	if err != nil {
		return strings.Trim(authority, "[]"), 80
	}
	n, err := strconv.ParseUint(digits, 10, 16)
	if err != nil {
		return host, 80
	}
	return host, int64(n) //nolint:gosec // 16 bits
}
