package ir

import "time"

// Route says what happens to requests that it matches. The routes of a service are in order of precedence:
// the first that matches counts, and a request that none matches goes to the service itself.
type Route struct {
	// Name tells people where the route comes from: "<kind>/<namespace>/<name>/<rule>".
	Name string
	// Ports of the service that it is for, by number, sorted; empty: all that speak HTTP.
	Ports []uint16 `json:",omitempty"`
	// Matches: one of them must match; empty: every request does.
	Matches []Match `json:",omitempty"`

	// Redirect answers instead of any backend.
	Redirect *Redirect `json:",omitempty"`
	// Backends that the requests are drawn over by weight; empty: the service itself. A backend of weight 0
	// gets nothing; when all have weight 0 the answer is 500, as Gateway API wants.
	Backends []Backend `json:",omitempty"`
	// Revision narrows the draw to one side of the backend's split while that side has a share above zero;
	// otherwise the split decides as ever. "" draws by the split. Narrowed requests are not judged.
	Revision Revision `json:",omitempty"`

	Rewrite         *Rewrite      `json:",omitempty"`
	RequestHeaders  HeaderChanges `json:",omitzero"`
	ResponseHeaders HeaderChanges `json:",omitzero"`
	// Mirrors get copies of requests; what they answer is dropped.
	Mirrors []Mirror `json:",omitempty"`
	Fault   *Fault   `json:",omitempty"`
	// RateLimit bounds the requests that match, at each pod of the service.
	RateLimit *RateLimit `json:",omitempty"`
	// Timeouts and Retry replace those of the service's policy, field by field and as a whole respectively.
	Timeouts Timeouts `json:",omitzero"`
	Retry    *Retry   `json:",omitempty"`
}

// Revision is a side of a split.
type Revision string

// The sides of a split.
const (
	AnyRevision    Revision = ""
	StableRevision Revision = "stable"
	CanaryRevision Revision = "canary"
)

// Match matches a request when all that it asks for holds. The zero Match matches every request.
type Match struct {
	// Hosts: one of them must be the request's authority without its port; "*.example.com" matches names
	// below it. Empty: any.
	Hosts []string `json:",omitempty"`
	// Path without the query.
	Path PathMatch `json:",omitzero"`
	// Method, upper-case; empty: any.
	Method  string       `json:",omitempty"`
	Headers []ValueMatch `json:",omitempty"`
	Query   []ValueMatch `json:",omitempty"`
	Cookies []ValueMatch `json:",omitempty"`
}

// MatchKind says how a text is compared.
type MatchKind string

// The kinds. The zero PathMatch matches every path.
const (
	Exact MatchKind = "exact"
	// Prefix: for a path whole elements ("/a" matches "/a" and "/a/b", not "/ab"), for a value any beginning.
	Prefix MatchKind = "prefix"
	// Regex is RE2 and must match the whole text.
	Regex MatchKind = "regex"
	// Present matches whatever the value is (values only).
	Present MatchKind = "present"
)

// PathMatch matches a path.
type PathMatch struct {
	Kind  MatchKind `json:",omitempty"`
	Value string    `json:",omitempty"`
}

// ValueMatch matches a named value: a header (name in lower case), a query parameter or a cookie.
type ValueMatch struct {
	Name  string
	Kind  MatchKind
	Value string `json:",omitempty"`
	// Not inverts the outcome.
	Not bool `json:",omitempty"`
}

// Backend is where requests of a route go.
type Backend struct {
	// Service is "<namespace>/<name>", a service of the same mesh; its own split applies.
	Service string
	// Port of that service.
	Port uint16
	// Weight relative to the other backends.
	Weight uint32
	// Headers are changed for requests that go to this backend only.
	RequestHeaders  HeaderChanges `json:",omitzero"`
	ResponseHeaders HeaderChanges `json:",omitzero"`
}

// Redirect answers with a Location. Empty fields stay as they are in the request.
type Redirect struct {
	Scheme, Host string `json:",omitempty"`
	Port         uint16 `json:",omitempty"`
	Path         Path   `json:",omitzero"`
	// Status is 301, 302, 303, 307 or 308.
	Status int
}

// Rewrite changes what the backend sees. Empty fields stay as they are.
type Rewrite struct {
	Host string `json:",omitempty"`
	Path Path   `json:",omitzero"`
}

// Path replaces a path, or the prefix that the route matched. The zero Path changes nothing.
type Path struct {
	// Full replaces the whole path.
	Full string `json:",omitempty"`
	// Prefix replaces the prefix that matched; ReplacePrefix tells "" from nothing asked for.
	Prefix        string `json:",omitempty"`
	ReplacePrefix bool   `json:",omitempty"`
}

// HeaderChanges are made in this order: remove, set, add. Names are in lower case.
type HeaderChanges struct {
	Set    []Header `json:",omitempty"`
	Add    []Header `json:",omitempty"`
	Remove []string `json:",omitempty"`
}

// Header is one header field.
type Header struct{ Name, Value string }

// Mirror says who gets copies, and of which share of the requests.
type Mirror struct {
	// Service is "<namespace>/<name>" and Port its port.
	Service string
	Port    uint16
	// Share of the requests in parts of a million.
	Share uint32
}

// Million is all requests, where shares are in parts of a million.
const Million = 1_000_000

// Fault delays or aborts a share of the requests on purpose, before any backend sees them.
type Fault struct {
	Delay      time.Duration `json:",omitempty"`
	DelayShare uint32        `json:",omitempty"` // in parts of a million
	// AbortStatus is an HTTP status, AbortGRPC a gRPC status for callers that speak gRPC (where it is not
	// given, the HTTP status is translated). Aborted requests are counted with the status that the caller
	// gets and without a revision, so that no fault of ours is held against one.
	AbortStatus int    `json:",omitempty"`
	AbortGRPC   int    `json:",omitempty"`
	AbortShare  uint32 `json:",omitempty"` // in parts of a million
	// Reason is told to callers that are aborted for another reason than that somebody wants a fault, such as
	// a backend that is not there; in few words. Empty: it was on purpose.
	Reason string `json:",omitempty"`
}

// RateLimit is a token bucket at each pod: Burst requests at once, Requests in Per on average. More are
// answered with 429 (gRPC: RESOURCE_EXHAUSTED).
type RateLimit struct {
	Requests uint32
	Per      time.Duration
	// Burst of at least 1; 0 means Requests.
	Burst uint32 `json:",omitempty"`
}
