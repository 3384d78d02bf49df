package ir

// Known reports whether it is one of the protocols; "" is TCP.
func (p Protocol) Known() bool {
	switch p {
	case HTTP, HTTP2, GRPC, TLS, TCP, Undeclared, "":
		return true
	default:
		return false
	}
}

// SpeaksHTTP reports whether requests are what is split and routed: http, http2 and grpc. Of an undeclared
// port only the client's first bytes tell.
func (p Protocol) SpeaksHTTP() bool { return p == HTTP || p == HTTP2 || p == GRPC }
