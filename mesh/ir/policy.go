package ir

import "time"

// Policy is how a service is called: the zero Policy means the defaults that each field names.
type Policy struct {
	Balance Balance `json:",omitzero"`
	// Sticky keeps a client on the side of the split that it has seen; nil: every request is drawn.
	Sticky   *Sticky  `json:",omitempty"`
	Timeouts Timeouts `json:",omitzero"`
	// Retry says which requests are repeated besides those that certainly nobody has begun to process, which
	// always are; nil: no others.
	Retry   *Retry   `json:",omitempty"`
	Limits  Limits   `json:",omitzero"`
	Outlier *Outlier `json:",omitempty"`
	// RateLimit bounds all requests, at each pod of the service.
	RateLimit *RateLimit `json:",omitempty"`
	// TLS: the proxy speaks TLS to the endpoints, for callers that speak plaintext to the proxy.
	TLS *UpstreamTLS `json:",omitempty"`
}

// Balancer says how an endpoint is chosen among those of the revision that was drawn.
type Balancer string

// The balancers.
const (
	// LeastRequest takes of two endpoints at random the one with fewer requests in flight. The default.
	LeastRequest Balancer = ""
	RoundRobin   Balancer = "roundRobin"
	Random       Balancer = "random"
	// RingHash sends equal values of HashOn to the same endpoint while endpoints stay the same, and moves
	// few of them when endpoints change.
	RingHash Balancer = "ringHash"
)

// Balance is how an endpoint is chosen.
type Balance struct {
	Balancer Balancer `json:",omitempty"`
	// HashOn is what RingHash hashes; requests without it are balanced at random.
	HashOn HashOn `json:",omitzero"`
	// SlowStart lets a new endpoint's share grow linearly from a tenth to its whole for so long; 0: at once.
	SlowStart time.Duration `json:",omitempty"`
	// AnyZone spreads over all zones alike. Otherwise endpoints in the caller's zone are preferred while
	// enough of them are healthy, and what they cannot take spills over to the others.
	AnyZone bool `json:",omitempty"`
	// Panic is the percentage of healthy (not ejected) endpoints below which ejections are ignored; 0 means
	// 50, and 1 is as good as never.
	Panic uint32 `json:",omitempty"`
}

// HashOn names what is hashed; exactly one is given for RingHash.
type HashOn struct {
	Header string `json:",omitempty"` // lower case
	Cookie string `json:",omitempty"`
	// CookieTTL lets the proxy make the cookie where it is missing, for so long; 0: it is not made.
	CookieTTL time.Duration `json:",omitempty"`
	Source    bool          `json:",omitempty"` // the caller's address
}

// Sticky keeps clients by a cookie that the proxy sets. Its value holds a bucket at random; a client is on
// the canary while its bucket is below the weight, so that one which has seen the canary stays there while
// the weight rises. A client's first request is judged, the others are not: they are not independent.
type Sticky struct {
	// Cookie's name.
	Cookie string
	// TTL of the cookie; 0: until the browser ends.
	TTL time.Duration `json:",omitempty"`
}

// Timeouts of requests and connections; 0 means the default.
type Timeouts struct {
	// Request bounds a request from its head to the end of its response, retries and back-off included. No
	// limit by default.
	Request time.Duration `json:",omitempty"`
	// PerTry bounds each try up to the response's head. No limit by default.
	PerTry time.Duration `json:",omitempty"`
	// Idle ends a request, an upgraded or a TCP connection on which nothing moves in either direction. No
	// limit by default.
	Idle time.Duration `json:",omitempty"`
	// Connect bounds the establishing of a connection. The proxy's default is 3 s.
	Connect time.Duration `json:",omitempty"`
}

// Retry repeats requests that failed, within the revision that was drawn.
type Retry struct {
	// Attempts after the first try.
	Attempts uint32
	// On lists conditions; one of them must hold.
	On []RetryOn
	// Statuses are the HTTP statuses of OnStatus, GRPCStatuses the gRPC statuses of OnGRPC. Sorted.
	Statuses     []int `json:",omitempty"`
	GRPCStatuses []int `json:",omitempty"`
	// BackOff before the first repetition; doubles up to MaxBackOff, with full jitter. 0 means 25 ms and
	// ten times BackOff.
	BackOff, MaxBackOff time.Duration `json:",omitempty"`
	// Budget is the share of the service's requests in flight that may be repetitions, in percent; 0 means
	// 20. BudgetMin are allowed in any case; 0 means 3.
	Budget, BudgetMin uint32 `json:",omitempty"`
	// NonIdempotent lets POST, PATCH and the like be repeated after the endpoint may have seen them.
	NonIdempotent bool `json:",omitempty"`
}

// RetryOn is a condition for a repetition.
type RetryOn string

// The conditions.
const (
	// OnConnectFailure: no connection, so nothing was sent.
	OnConnectFailure RetryOn = "connect-failure"
	// OnReset: the endpoint reset or closed without a response.
	OnReset RetryOn = "reset"
	// OnTimeout: the per-try timeout has passed.
	OnTimeout RetryOn = "timeout"
	// On5xx: any 5xx, OnGatewayError: 502, 503 or 504, OnStatus: one of Statuses.
	On5xx          RetryOn = "5xx"
	OnGatewayError RetryOn = "gateway-error"
	OnStatus       RetryOn = "status"
	// OnGRPC: one of GRPCStatuses, in a response without messages (trailers only).
	OnGRPC RetryOn = "grpc"
)

// Limits break circuits: what is beyond them is refused at once with 503 rather than queued without end.
// They hold for one proxy and one revision of the service. 0 means no limit but MaxConnections, 1024.
type Limits struct {
	// MaxConnections to one endpoint.
	MaxConnections uint32 `json:",omitempty"`
	// MaxPending requests that wait for a connection.
	MaxPending uint32 `json:",omitempty"`
	// MaxRequests in flight.
	MaxRequests uint32 `json:",omitempty"`
}

// Outlier takes endpoints out of the balance that fail in a row. The zero value of a field means its
// default.
type Outlier struct {
	// Consecutive failures (5xx, resets, timeouts, refused connections); 5.
	Consecutive uint32 `json:",omitempty"`
	// Ejection of the first time; each further one is longer by the same, up to ten times. 30 s.
	Ejection time.Duration `json:",omitempty"`
	// MaxPercent of a revision's endpoints that may be out at a time; 50. One may always be, of two or more.
	MaxPercent uint32 `json:",omitempty"`
}

// UpstreamTLS is how the proxy speaks TLS to endpoints.
type UpstreamTLS struct {
	// ServerName is sent as SNI and verified; the endpoint's certificate must be for it.
	ServerName string
	// CA is a bundle of certificates (PEM) that the endpoint's must be from; empty: those of the system.
	CA string `json:",omitempty"`
	// Insecure takes any certificate.
	Insecure bool `json:",omitempty"`
}

// Settings are the same for all proxies.
type Settings struct {
	AccessLog AccessLog `json:",omitzero"`
	Tracing   Tracing   `json:",omitzero"`
}

// AccessLog writes requests as JSON lines to the proxy's standard output.
type AccessLog struct {
	// Share of the requests that are written, in parts of a million; 0: none but Errors and Slow.
	Share uint32 `json:",omitempty"`
	// Errors are always written: 5xx, gRPC statuses other than OK, and requests that no endpoint answered.
	Errors bool `json:",omitempty"`
	// Slow requests, of at least so long, are always written; 0: no request is slow.
	Slow time.Duration `json:",omitempty"`
}

// Tracing sends spans to a collector.
type Tracing struct {
	// Endpoint is a URL: "http://collector.monitoring:4318/v1/traces" for OTLP, ".../api/v2/spans" for
	// Zipkin. Empty: no spans, and trace headers pass through untouched.
	Endpoint string `json:",omitempty"`
	// Format of the spans.
	Format TraceFormat `json:",omitempty"`
	// Share of the requests without a trace of their own that begin one, in parts of a million. A trace that
	// comes with a request is followed as its own flags say.
	Share uint32 `json:",omitempty"`
	// Propagation is how a trace that begins here is passed on; one that comes is passed on as it came.
	Propagation Propagation `json:",omitempty"`
}

// TraceFormat is what a collector understands.
type TraceFormat string

// The formats.
const (
	OTLP   TraceFormat = ""
	Zipkin TraceFormat = "zipkin"
)

// Propagation is a family of trace headers.
type Propagation string

// The families.
const (
	W3C Propagation = ""
	B3  Propagation = "b3"
)
