package ir

import (
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"slices"
	"strings"
	"time"
)

// maxGRPCStatus is UNAUTHENTICATED, the last that gRPC defines.
const maxGRPCStatus = 16

// defaultBackOff is Retry's.
const defaultBackOff = 25 * time.Millisecond

func (p Policy) validate(report reporter) {
	p.Balance.validate(report.in("balance"))
	if p.Sticky != nil {
		if !isToken(p.Sticky.Cookie) {
			report("sticky: %q is not a cookie's name", p.Sticky.Cookie)
		}
		checkDuration(p.Sticky.TTL, "sticky: TTL", report)
	}
	p.Timeouts.validate(report.in("timeouts"))
	if p.Retry != nil {
		p.Retry.validate(report.in("retry"))
	}
	if p.Outlier != nil {
		checkDuration(p.Outlier.Ejection, "outlier: ejection", report)
		checkPercent(p.Outlier.MaxPercent, "outlier: max percent", report)
	}
	if p.RateLimit != nil {
		p.RateLimit.validate(report.in("rate limit"))
	}
	if p.TLS != nil {
		p.TLS.validate(report.in("TLS"))
	}
}

func (b Balance) validate(report reporter) {
	asked := 0
	for _, given := range []bool{b.HashOn.Header != "", b.HashOn.Cookie != "", b.HashOn.Source} {
		if given {
			asked++
		}
	}
	switch b.Balancer {
	case RingHash:
		if asked != 1 {
			report("a ring hash needs one of header, cookie and source, not %d", asked)
		}
	case LeastRequest, RoundRobin, Random:
		if asked != 0 {
			report("only a ring hash hashes on something")
		}
	default:
		report("unknown balancer %q", b.Balancer)
	}
	if b.HashOn.Header != "" {
		if problem := badHeaderName(b.HashOn.Header); problem != "" {
			report("hash on header %q: it %s", b.HashOn.Header, problem)
		}
	}
	if b.HashOn.Cookie != "" && !isToken(b.HashOn.Cookie) {
		report("hash on cookie %q: it is not a cookie's name", b.HashOn.Cookie)
	}
	checkDuration(b.HashOn.CookieTTL, "cookie's TTL", report)
	if b.HashOn.CookieTTL != 0 && b.HashOn.Cookie == "" {
		report("a TTL without a cookie")
	}
	checkDuration(b.SlowStart, "slow start", report)
	checkPercent(b.Panic, "panic", report)
}

func (t Timeouts) validate(report reporter) {
	checkDuration(t.Request, "request", report)
	checkDuration(t.PerTry, "per try", report)
	checkDuration(t.Idle, "idle", report)
	checkDuration(t.Connect, "connect", report)
}

func (r Retry) validate(report reporter) {
	if r.Attempts > 0 && len(r.On) == 0 {
		report("has no condition")
	}
	for _, on := range r.On {
		switch on {
		case OnConnectFailure, OnReset, OnTimeout, On5xx, OnGatewayError:
		case OnStatus:
			if len(r.Statuses) == 0 {
				report("on %q names no status", on)
			}
		case OnGRPC:
			if len(r.GRPCStatuses) == 0 {
				report("on %q names no gRPC status", on)
			}
		default:
			report("unknown condition %q", on)
		}
	}
	for _, status := range r.Statuses {
		if status < 200 || status > 599 {
			report("status %d is not from 200 to 599", status)
		}
	}
	for _, status := range r.GRPCStatuses {
		if status < 1 || status > maxGRPCStatus {
			report("gRPC status %d is not from 1 to %d", status, maxGRPCStatus)
		}
	}
	checkDuration(r.BackOff, "back-off", report)
	checkDuration(r.MaxBackOff, "max back-off", report)
	first := r.BackOff
	if first == 0 {
		first = defaultBackOff
	}
	if r.MaxBackOff > 0 && r.MaxBackOff < first {
		report("max back-off of %v is below the first, %v", r.MaxBackOff, first)
	}
	checkPercent(r.Budget, "budget", report)
}

func (t UpstreamTLS) validate(report reporter) {
	if (t.ServerName != "" || !t.Insecure) && !isHost(strings.ToLower(t.ServerName), false) {
		report("server name %q is not one", t.ServerName)
	}
	if err := checkCertificates(t.CA); err != nil {
		report("CA: %v", err)
	}
}

// checkCertificates accepts a bundle of certificates in PEM and nothing else.
func checkCertificates(bundle string) error {
	if bundle == "" {
		return nil
	}
	rest, count := []byte(bundle), 0
	for {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			return fmt.Errorf("has a %q; only certificates belong there", block.Type)
		}
		if _, err := x509.ParseCertificate(block.Bytes); err != nil {
			return fmt.Errorf("parse certificate %d: %w", count, err)
		}
		count++
	}
	if count == 0 {
		return fmt.Errorf("has no certificate in PEM")
	}
	if slices.ContainsFunc([]byte(bundle), func(c byte) bool { return c >= 0x80 }) {
		return fmt.Errorf("is not ASCII")
	}
	return nil
}

func checkPercent(percent uint32, field string, report reporter) {
	if percent > 100 {
		report("%s of %d is above 100", field, percent)
	}
}
