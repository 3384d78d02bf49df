package prometheus

import (
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// The names of the proxies' series.
const (
	startedName  = "sluice_requests_started_total"
	totalName    = "sluice_requests_total"
	durationName = "sluice_request_duration_seconds" // as a native histogram
	bucketName   = durationName + "_bucket"
)

// kind is what a series counts.
type kind uint8

const (
	nothing kind = iota // that a release is judged by
	started             // requests that began
	ended               // requests that ended, with code
	all                 // durations, all of them, with the code's class
	quick               // durations up to a bound
	native              // durations, in a native histogram
)

// outcome is how a request ended.
type outcome uint8

const (
	served    outcome = iota
	failed            // by the server's fault, or nobody answered
	cancelled         // by the client
	refused           // with a code of the class 4xx: durations of cancelled requests are among them
)

// metric is what a series is, by its labels. But for what the decoder keeps, it does not change.
type metric struct {
	text string // the labels as the server writes them

	service  *service
	revision string
	weight   uint32 // in percent
	// source is the proxy it was scraped from, and instance the address of that.
	source, instance string
	kind             kind
	outcome          outcome
	// stays says that the end of a request is not its answer: a connection of protocol tcp.
	stays bool
	// bound is the bucket's upper bound in seconds, of kind quick.
	bound float64
	// rest are all other labels of the proxy's.
	rest string
	// doubt says why a series that should count cannot. Empty: it can.
	doubt string

	// Of the decoder: the series that came next, and when this one was met, in seconds.
	next *metric
	used int64
}

// newMetric reads labels. Series that no release is judged by are of kind nothing: without a weight above
// zero, or that somebody else than the source reports.
func newMetric(labels map[string]string) *metric {
	m := &metric{revision: labels["revision"], stays: labels["protocol"] == "tcp"}
	doubt := func(format string, args ...any) *metric {
		m.doubt = fmt.Sprintf(format, args...)
		return m
	}
	weight := labels["weight"]
	if weight == "" || weight == "0" || labels["reporter"] != "source" {
		return m
	}
	percent, err := strconv.ParseUint(weight, 10, 32)
	if err != nil || percent == 0 || percent > 100 {
		return doubt("weight %q is no percentage", short(weight))
	}
	m.weight = uint32(percent)
	code, status := labels["code"], labels["grpc_status"]
	switch name := labels["__name__"]; name {
	case startedName:
		m.kind = started
	case totalName:
		m.kind = ended
		m.outcome, err = outcomeOf(code, status)
	case durationName, bucketName:
		if m.outcome, err = outcomeOfClass(code); err != nil {
			break
		}
		if m.outcome == failed {
			return m // however long it took
		}
		m.kind = native
		if name == bucketName {
			m.kind, m.bound, err = bucketOf(labels["le"])
		}
	default:
		return doubt("a series %q was not asked for", short(name))
	}
	if err != nil {
		return doubt("%v", err)
	}
	m.rest = strings.Join([]string{labels["source"], labels["source_namespace"], labels["protocol"], code, status}, "\xff")
	// A pod has one proxy, wherever it is scraped from; its name is unique in its namespace only.
	m.instance = labels["instance"]
	switch pod := labels["pod"]; {
	case pod != "":
		m.source = labels["source_namespace"] + "/" + pod
	case m.instance != "":
		m.source = m.instance
	default:
		return doubt("a series does not say which source it comes from, by pod or instance")
	}
	return m
}

// bucketOf says what a bucket of a classic histogram counts.
func bucketOf(le string) (kind, float64, error) {
	bound, err := strconv.ParseFloat(le, 64)
	switch {
	case err != nil || math.IsNaN(bound):
		return nothing, 0, doubtf("durations have the bound %q, which is no number", short(le))
	case math.IsInf(bound, 1):
		return all, 0, nil
	}
	return quick, bound, nil
}

// blame are the gRPC statuses that the server is to blame for, by number and by name: those of the
// OpenTelemetry convention for server spans.
var blame = []string{
	"2", "4", "12", "13", "14", "15",
	"unknown", "deadlineexceeded", "unimplemented", "internal", "unavailable", "dataloss",
}

// outcomeOf says how a request with this code and gRPC status ended; no status is no gRPC.
func outcomeOf(code, status string) (outcome, error) {
	number, err := strconv.Atoi(code)
	status = strings.ToLower(strings.ReplaceAll(status, "_", ""))
	switch {
	case err != nil || number < 0:
		return 0, doubtf("code %q is no number", short(code))
	case number == 0 || number >= 500 || slices.Contains(blame, status):
		return failed, nil
	case number == 499 || status == "1" || status == "canceled" || status == "cancelled":
		return cancelled, nil
	}
	return served, nil
}

// outcomeOfClass says how requests of a class of codes ended.
func outcomeOfClass(class string) (outcome, error) {
	switch class {
	case "1xx", "2xx", "3xx":
		return served, nil
	case "4xx":
		return refused, nil
	case "5xx", "none":
		return failed, nil
	}
	return 0, doubtf("durations have the code %q, which is no class", short(class))
}

// doubtError says why samples cannot be trusted.
type doubtError string

func (d doubtError) Error() string { return string(d) }

func doubtf(format string, args ...any) error { return doubtError(fmt.Sprintf(format, args...)) }

// selection is what one query asks for: releases, by the labels of their series, and their bounds.
type selection struct {
	namespaces, services, revisions []string
	// native asks for native histograms, else for the buckets with these values of the label le. Without
	// bounds no durations are asked for.
	native bool
	bounds []string
	// cold are the weights that are not asked for.
	cold weights
}

// selector selects the series of all releases in the selection, at all weights but the cold ones.
func (s *selection) selector() string {
	names, bounds := []string{startedName, totalName}, []string{""}
	switch {
	case s.native:
		names = append(names, durationName)
	case len(s.bounds) > 0:
		names, bounds = append(names, bucketName), append(append(bounds, s.bounds...), "+Inf")
	}
	return fmt.Sprintf(`{__name__=~%s,reporter="source",namespace%s,service%s,weight!~%q,revision=~%s,le=~%s,code!~"5xx|none"}`,
		anyOf(names...), isAny(s.namespaces), isAny(s.services), s.cold.matcher(), anyOf(s.revisions...), anyOf(bounds...))
}

// anyOf is a quoted pattern that matches exactly the given values.
func anyOf(values ...string) string {
	patterns := make([]string, len(values))
	for i, value := range values {
		patterns[i] = regexp.QuoteMeta(value)
	}
	return strconv.Quote(strings.Join(patterns, "|"))
}

// isAny matches a label with one of the given values.
func isAny(values []string) string {
	if len(values) == 1 {
		return "=" + strconv.Quote(values[0])
	}
	return "=~" + anyOf(values...)
}

// selectBounds selects a service's buckets, at any weight, since those of this weight may not be there yet.
func selectBounds(namespace, service string) string {
	return fmt.Sprintf(`%s{reporter="source",namespace=%s,service=%s}`, bucketName, strconv.Quote(namespace), strconv.Quote(service))
}

// selectDown selects the sources that cannot be scraped.
func selectDown(instances []string) string {
	return fmt.Sprintf(`up{instance=~%s} == 0`, anyOf(instances...))
}
