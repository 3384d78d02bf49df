package prometheus

import (
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/common/model"

	"github.com/sluice-mesh/sluice/analysis"
)

// The names of the proxies' series.
const (
	startedName = "sluice_requests_started_total"
	totalName   = "sluice_requests_total"
	bucketName  = "sluice_request_duration_seconds_bucket"
)

// bound is an upper bound of a bucket: its value, and the values of the label le that mean it.
type bound struct {
	at     time.Duration
	labels []string
}

// pickBound picks the lowest bound at or above slow; the zero bound where there is none.
func pickBound(values model.LabelValues, slow time.Duration) bound {
	picked, least := bound{}, math.Inf(1)
	for _, value := range values {
		upper, err := strconv.ParseFloat(string(value), 64)
		// Bounds are written in decimal seconds: a nanosecond more or less is the arithmetic's.
		if err != nil || math.IsInf(upper, 0) || math.IsNaN(upper) || upper > 1e6 || upper < slow.Seconds()-1e-9 || upper > least {
			continue
		}
		if upper < least {
			picked, least = bound{at: max(time.Duration(math.Round(upper*1e9)), slow)}, upper
		}
		picked.labels = append(picked.labels, string(value))
	}
	return picked
}

// selectSeries selects what is counted for a subject.
func selectSeries(subject analysis.Subject, b bound) string {
	names, bounds := []string{startedName, totalName}, []string{""}
	if b.at > 0 {
		names, bounds = append(names, bucketName), append(append(bounds, b.labels...), "+Inf")
	}
	return fmt.Sprintf(`{__name__=~%s,reporter="source",namespace=%s,service=%s,weight="%d",revision=~%s,le=~%s}`,
		anyOf(names...), strconv.Quote(subject.Namespace), strconv.Quote(subject.Service), subject.Weight,
		anyOf(subject.Canary, subject.Stable), anyOf(bounds...))
}

// selectBounds selects the service's buckets, at any weight, since those of this weight may not be there yet.
func selectBounds(subject analysis.Subject) string {
	return fmt.Sprintf(`%s{reporter="source",namespace=%s,service=%s}`,
		bucketName, strconv.Quote(subject.Namespace), strconv.Quote(subject.Service))
}

// selectDown selects the sources that cannot be scraped.
func selectDown(instances []string) string {
	return fmt.Sprintf(`up{instance=~%s} == 0`, anyOf(instances...))
}

// anyOf is a quoted pattern that matches exactly the given values.
func anyOf(values ...string) string {
	patterns := make([]string, len(values))
	for i, value := range values {
		patterns[i] = regexp.QuoteMeta(value)
	}
	return strconv.Quote(strings.Join(patterns, "|"))
}

// revision is an index into what is kept for both.
type revision uint8

const (
	canary revision = iota
	stable
)

// kind is what a series counts.
type kind uint8

const (
	started kind = iota // requests that began
	ended               // requests that ended, with code
	all                 // durations, all of them, with the code's class
	quick               // durations up to the bound
)

// series identifies a series within its source.
type series struct {
	revision revision
	kind     kind
	outcome  outcome
	// stays says that the end of a request is not its answer: a connection of protocol tcp.
	stays bool
	// rest are all other labels of the proxy's.
	rest string
}

// outcome is how a request ended.
type outcome uint8

const (
	served    outcome = iota
	failed            // by the server's fault, or nobody answered
	cancelled         // by the client
	refused           // with a code of the class 4xx: durations of cancelled requests are among them
)

// parse reads what a metric is: the source it was scraped from, the address of that, and the series.
func parse(metric model.Metric, subject analysis.Subject) (source, instance string, s series, err error) {
	get := func(name model.LabelName) string { return string(metric[name]) }
	switch get("revision") {
	case subject.Canary:
		s.revision = canary
	case subject.Stable:
		s.revision = stable
	default:
		return "", "", series{}, doubtf("a series of revision %q was not asked for", get("revision"))
	}
	code, status := get("code"), get("grpc_status")
	switch name := get(model.MetricNameLabel); name {
	case startedName:
		s.kind = started
	case totalName:
		s.kind = ended
		if s.outcome, err = outcomeOf(code, status); err != nil {
			return "", "", series{}, err
		}
	case bucketName:
		if s.kind = quick; get("le") == "+Inf" {
			s.kind = all
		}
		if s.outcome, err = outcomeOfClass(code); err != nil {
			return "", "", series{}, err
		}
	default:
		return "", "", series{}, doubtf("a series %q was not asked for", name)
	}
	s.stays = get("protocol") == "tcp"
	s.rest = strings.Join([]string{get("source"), get("source_namespace"), get("protocol"), code, status}, "\xff")
	// A pod has one proxy, wherever it is scraped from; its name is unique in its namespace only.
	instance = get("instance")
	switch pod := get("pod"); {
	case pod != "":
		source = get("source_namespace") + "/" + pod
	case instance != "":
		source = instance
	default:
		return "", "", series{}, doubtf("a series does not say which source it comes from, by pod or instance")
	}
	return source, instance, s, nil
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
		return 0, doubtf("code %q is no number", code)
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
	return 0, doubtf("durations have the code %q, which is no class", class)
}

// doubtError says why samples cannot be trusted.
type doubtError string

func (d doubtError) Error() string { return string(d) }

func doubtf(format string, args ...any) error { return doubtError(fmt.Sprintf(format, args...)) }
