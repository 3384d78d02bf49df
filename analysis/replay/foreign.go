package replay

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/prometheus/common/model"
)

// Foreign says how series of another mesh, or of anything that counts requests, are read. All selectors
// are PromQL's; what counts requests must be counters that count a request when it has ended, told by who
// sends them.
type Foreign struct {
	// Requests picks the requests of both revisions, with the name of the counter.
	Requests string `json:"requests"`
	// Canary and Stable pick each revision's among them.
	Canary string `json:"canary"`
	Stable string `json:"stable"`
	// Errors pick requests that failed: those that any of them picks. Cancelled picks those that the
	// client gave up, which are neither good nor bad, and not errors either.
	Errors    []string `json:"errors"`
	Cancelled []string `json:"cancelled,omitempty"`
	// Latency picks the buckets of the same requests' durations, with the name of the series, which ends
	// in _bucket; LatencyErrors, those of requests that failed. Empty: latency is not known.
	Latency       string   `json:"latency,omitempty"`
	LatencyErrors []string `json:"latencyErrors,omitempty"`
	// LatencyUnit is what the buckets' label le counts, in seconds: 0.001 for milliseconds.
	LatencyUnit float64 `json:"latencyUnitSeconds,omitempty"`
	// BoundarySeconds are where requests count as slow; empty: chosen from stable's latencies.
	BoundarySeconds []float64 `json:"boundarySeconds,omitempty"`
	// Weights, where they are known. Empty: they are guessed from the shares of the requests.
	Weights []Weight `json:"weights,omitempty"`
}

// A Preset knows the series of a mesh.
type Preset struct {
	// Requests and Latency have %[1]s for the quoted namespace and %[2]s for the quoted service.
	Requests, Latency                string
	Errors, Cancelled, LatencyErrors []string
	LatencyUnit                      float64
	// Label tells revisions apart.
	Label string
}

// Presets are by the name of the mesh. Their labels are those of Istio's standard metrics and of Linkerd's
// proxy metrics; the gRPC statuses are those that OpenTelemetry's convention blames the server for.
var Presets = map[string]Preset{
	"istio": {
		Requests:      `istio_requests_total{reporter="source",destination_service_namespace=%[1]s,destination_service_name=%[2]s}`,
		Errors:        []string{`response_code=~"0|5.."`, `grpc_response_status=~"2|4|12|13|14|15"`},
		Cancelled:     []string{`response_flags=~"(.*,)?DC(,.*)?"`, `grpc_response_status="1"`},
		Latency:       `istio_request_duration_milliseconds_bucket{reporter="source",destination_service_namespace=%[1]s,destination_service_name=%[2]s}`,
		LatencyErrors: []string{`response_code=~"0|5.."`, `grpc_response_status=~"2|4|12|13|14|15"`},
		LatencyUnit:   .001,
		Label:         "destination_workload",
	},
	"linkerd": {
		Requests:      `response_total{direction="outbound",dst_namespace=%[1]s,dst_service=%[2]s}`,
		Errors:        []string{`classification="failure"`},
		Latency:       `response_latency_ms_bucket{direction="outbound",dst_namespace=%[1]s,dst_service=%[2]s}`,
		LatencyErrors: []string{`status_code=~"5.."`},
		LatencyUnit:   .001,
		Label:         "dst_deployment",
	},
}

// By fills a preset in.
func (p Preset) By(namespace, service, label, canary, stable string) Foreign {
	if label == "" {
		label = p.Label
	}
	f := Foreign{
		Requests: fmt.Sprintf(p.Requests, quote(namespace), quote(service)),
		Errors:   p.Errors, Cancelled: p.Cancelled, LatencyErrors: p.LatencyErrors, LatencyUnit: p.LatencyUnit,
		Latency: fmt.Sprintf(p.Latency, quote(namespace), quote(service)),
	}
	if canary != "" {
		f.Canary = label + "=" + quote(canary)
	}
	if stable != "" {
		f.Stable = label + "=" + quote(stable)
	}
	return f
}

// counts is what a foreign series counts.
type counts struct {
	canary bool
	kind   kind
	// bound of a bucket, in seconds; +Inf for all durations
	bound float64
}

type kind uint8

const (
	answered  kind = iota // ended well enough
	failed                // ended in an error
	cancelled             // given up by the client
	quick                 // took at most the bound, without an error
)

// reader is a Foreign, parsed.
type reader struct {
	requests, canary, stable, latency Selector
	errors, cancelled, latencyErrors  []Selector
	unit                              float64
	// replica is the value of a label that tells servers apart, once it was seen.
	replicas map[string]string
}

// parse reads the selectors. Its errors name the field.
func (f Foreign) parse() (*reader, error) {
	r := &reader{unit: f.LatencyUnit, replicas: map[string]string{}}
	one := func(field, text string, into *Selector) error {
		s, err := ParseSelector(text)
		if err != nil {
			return fmt.Errorf("%s: %w", field, err)
		}
		*into = s
		return nil
	}
	several := func(field string, texts []string, into *[]Selector) error {
		if len(texts) > 20 {
			return fmt.Errorf("%s: more than 20", field)
		}
		for _, text := range texts {
			var s Selector
			if err := one(field, text, &s); err != nil {
				return err
			}
			if len(s.Matchers) == 0 {
				return fmt.Errorf("%s: %q picks every series; write label=\"value\"", field, text)
			}
			*into = append(*into, s)
		}
		return nil
	}
	err := errors.Join(
		one("requests", f.Requests, &r.requests), one("canary", f.Canary, &r.canary), one("stable", f.Stable, &r.stable),
		several("errors", f.Errors, &r.errors), several("cancelled", f.Cancelled, &r.cancelled),
		one("latency", f.Latency, &r.latency), several("latency errors", f.LatencyErrors, &r.latencyErrors),
	)
	switch {
	case err != nil:
		return nil, err
	case r.requests.Name == "":
		return nil, errors.New("requests: name the counter, as in istio_requests_total{reporter=\"source\"}")
	case len(r.canary.Matchers) == 0 || len(r.stable.Matchers) == 0:
		return nil, errors.New("canary and stable: say by which labels each is told, as in destination_workload=\"cart-primary\"")
	case r.canary.String() == r.stable.String():
		return nil, errors.New("canary and stable are the same")
	case len(r.errors) == 0:
		return nil, errors.New("errors: say which requests failed, as in response_code=~\"5..\"")
	case f.Latency != "" && !strings.HasSuffix(r.latency.Name, "_bucket"):
		return nil, fmt.Errorf("latency: %q is not the name of a histogram's buckets, which ends in _bucket", r.latency.Name)
	case f.Latency != "" && !(f.LatencyUnit > 0 && f.LatencyUnit <= 1):
		return nil, errors.New("latency: its unit is not known; it is 1 for seconds and 0.001 for milliseconds")
	}
	return r, nil
}

// Selectors are what to ask Prometheus for: everything that is read, of canary and of stable.
func (f Foreign) Selectors() ([]string, error) {
	r, err := f.parse()
	if err != nil {
		return nil, err
	}
	bases := []Selector{r.requests}
	if f.Latency != "" {
		bases = append(bases, r.latency)
	}
	var all []string
	for _, base := range bases {
		for _, revision := range []Selector{r.canary, r.stable} {
			both, err := base.And(revision)
			if err != nil {
				return nil, err
			}
			all = append(all, both.String())
		}
	}
	return all, nil
}

// kindOf reads what a series counts.
func (r *reader) kindOf(metric model.Metric) (counts, bool, error) {
	isRequests := r.requests.Matches(metric)
	isLatency := r.latency.Name != "" && r.latency.Matches(metric)
	if !isRequests && !isLatency {
		return counts{}, false, nil
	}
	c := counts{canary: r.canary.Matches(metric)}
	stable := r.stable.Matches(metric)
	switch {
	case c.canary && stable:
		return c, false, fmt.Errorf("%s belongs to both canary and stable: make their matchers exclude each other", clip(metric.String()))
	case !c.canary && !stable:
		return c, false, nil
	}
	if err := r.oneServer(metric); err != nil {
		return c, false, err
	}
	switch {
	case isRequests && anyMatches(r.cancelled, metric):
		c.kind = cancelled
	case isRequests && anyMatches(r.errors, metric):
		c.kind = failed
	case isRequests:
		c.kind = answered
	case anyMatches(r.latencyErrors, metric):
		return c, false, nil // bad already, however quick
	default:
		bound, err := boundOf(metric, r.unit)
		if err != nil {
			return c, false, err
		}
		c.kind, c.bound = quick, bound
	}
	return c, true, nil
}

// oneServer refuses series of several servers that scrape the same targets: every request would count
// as often.
func (r *reader) oneServer(metric model.Metric) error {
	for _, label := range []model.LabelName{"prometheus_replica", "replica"} {
		value := string(metric[label])
		if value == "" {
			continue
		}
		if known, is := r.replicas[string(label)]; is && known != value {
			return fmt.Errorf("the series are there once for each replica of Prometheus: add %s=%s to the requests and to the latency", label, quote(known))
		}
		r.replicas[string(label)] = value
	}
	return nil
}

func anyMatches(selectors []Selector, metric model.Metric) bool {
	return slices.ContainsFunc(selectors, func(s Selector) bool { return s.Matches(metric) })
}
