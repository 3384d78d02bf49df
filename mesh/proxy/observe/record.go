package observe

import (
	"net/netip"
	"time"
)

// Record is one request as it ended. Texts are good until End returns; of very long ones the first 2 KiB
// are told.
type Record struct {
	Begun    time.Time
	Duration time.Duration
	// Inbound: the pod was called; else it called.
	Inbound bool
	// Protocol is "HTTP/1.1", "HTTP/2" or "TCP".
	Protocol                    string
	Method, Path, Authority     string
	UserAgent, RequestID        string
	Caller                      netip.AddrPort
	Endpoint                    netip.AddrPort // of the last try; invalid: none was reached
	Service, Revision, Rule     string
	Code                        int // as package telemetry counts it
	GRPC                        int // -1: not gRPC
	Tries                       int
	RequestBytes, ResponseBytes int64
	// Reason in few words where the proxy answered itself or the request broke off; "" otherwise.
	Reason string
}

func (r *Record) direction() string {
	if r.Inbound {
		return "inbound"
	}
	return "outbound"
}
