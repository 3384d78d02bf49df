package ir

import (
	"fmt"
	"net/url"
)

// Validate says all that is wrong with the settings, in one line.
func (s Settings) Validate() error {
	var errs []error
	var report reporter = func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	checkShare(s.AccessLog.Share, "access log: share", report)
	checkDuration(s.AccessLog.Slow, "access log: slow", report)
	checkShare(s.Tracing.Share, "tracing: share", report)
	if !validEndpoint(s.Tracing.Endpoint) {
		report("tracing: endpoint %q is no http or https URL with a host", s.Tracing.Endpoint)
	}
	switch s.Tracing.Format {
	case OTLP, Zipkin:
	default:
		report("tracing: unknown format %q", s.Tracing.Format)
	}
	switch s.Tracing.Propagation {
	case W3C, B3:
	default:
		report("tracing: unknown propagation %q", s.Tracing.Propagation)
	}
	if len(errs) == 0 {
		return nil
	}
	return fmt.Errorf("settings: %w", joined(errs))
}

func validEndpoint(endpoint string) bool {
	if endpoint == "" {
		return true
	}
	parsed, err := url.Parse(endpoint)
	return err == nil && badText(endpoint, false) == "" && parsed.Hostname() != "" && (parsed.Scheme == "http" || parsed.Scheme == "https")
}

// Redacted returns a URL without what may be secret in it: a password, and what the query says.
func Redacted(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return "(not a URL)"
	}
	if u.RawQuery != "" {
		u.RawQuery = "xxxxx"
	}
	return u.Redacted()
}

func checkShare(share uint32, field string, report reporter) {
	if share > Million {
		report("%s of %d is above %d parts of a million", field, share, Million)
	}
}

// Normalise returns the settings in their normal form: without an endpoint for spans nothing else is said
// about tracing.
func (s Settings) Normalise() Settings {
	if s.Tracing.Endpoint == "" {
		s.Tracing = Tracing{}
	}
	return s
}
