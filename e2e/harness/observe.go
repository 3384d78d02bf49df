package harness

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// AccessLogLine is one line of a proxy's access log, with every field that it may have.
type AccessLogLine struct {
	Time          time.Time `json:"time"`
	Duration      float64   `json:"duration"`
	Direction     string    `json:"direction"`
	Protocol      string    `json:"protocol"`
	Method        string    `json:"method"`
	Path          string    `json:"path"`
	Authority     string    `json:"authority"`
	UserAgent     string    `json:"user_agent"`
	RequestID     string    `json:"request_id"`
	TraceID       string    `json:"trace_id"`
	Caller        string    `json:"caller"`
	Endpoint      string    `json:"endpoint"`
	Service       string    `json:"service"`
	Revision      string    `json:"revision"`
	Rule          string    `json:"rule"`
	Code          *int      `json:"code"`
	GRPCStatus    *int      `json:"grpc_status"`
	Tries         *int      `json:"tries"`
	RequestBytes  *int64    `json:"request_bytes"`
	ResponseBytes *int64    `json:"response_bytes"`
	Reason        string    `json:"reason"`
}

// AccessLog returns what the pod's proxy wrote until now. A field that AccessLogLine does not have is an error.
func (s *Space) AccessLog(ctx context.Context, pod string) ([]AccessLogLine, error) {
	log, err := s.Kube.CoreV1().Pods(s.Name).GetLogs(pod, &corev1.PodLogOptions{Container: ProxyContainer}).DoRaw(ctx)
	if err != nil {
		return nil, fmt.Errorf("read log of %s: %w", pod, err)
	}
	var all []AccessLogLine
	for text := range bytes.Lines(log) {
		if !bytes.Contains(text, []byte(`"direction":`)) || !bytes.HasSuffix(text, []byte("\n")) {
			continue // another line, or one that is still being written
		}
		var line AccessLogLine
		decoder := json.NewDecoder(bytes.NewReader(text))
		decoder.DisallowUnknownFields()
		if err := decoder.Decode(&line); err != nil {
			return nil, fmt.Errorf("read access log of %s: %w: %s", pod, err, text)
		}
		all = append(all, line)
	}
	return all, nil
}

// Span is one that a collector got, with its attributes' texts and numbers, and those of where it is from.
type Span struct {
	Trace, ID, Parent, Name string
	Kind                    int // 2: of a server, 3: of a client
	From, Attributes        map[string]string
}

type otlpAttributes []struct {
	Key   string `json:"key"`
	Value struct {
		Text   string `json:"stringValue"`
		Number string `json:"intValue"`
	} `json:"value"`
}

func (a otlpAttributes) texts() map[string]string {
	texts := map[string]string{}
	for _, one := range a {
		texts[one.Key] = one.Value.Text + one.Value.Number
	}
	return texts
}

// Spans returns all that the collector, a pod of an App, has got.
func (s *Space) Spans(ctx context.Context, pod string) ([]Span, error) {
	body, err := s.Ask(ctx, http.MethodGet, pod, shopPort, "spans", nil)
	if err != nil {
		return nil, err
	}
	var messages []struct {
		ResourceSpans []struct {
			Resource   struct{ Attributes otlpAttributes }
			ScopeSpans []struct {
				Spans []struct {
					TraceID, SpanID, ParentSpanID, Name string
					Kind                                int
					Attributes                          otlpAttributes
				}
			}
		}
	}
	if err := json.Unmarshal(body, &messages); err != nil {
		return nil, fmt.Errorf("read spans: %w", err)
	}
	var all []Span
	for _, message := range messages {
		for _, resource := range message.ResourceSpans {
			for _, scope := range resource.ScopeSpans {
				for _, span := range scope.Spans {
					all = append(all, Span{
						span.TraceID, span.SpanID, span.ParentSpanID, span.Name, span.Kind,
						resource.Resource.Attributes.texts(), span.Attributes.texts(),
					})
				}
			}
		}
	}
	return all, nil
}

// Asked returns how many requests a shop's pod was asked over HTTP.
func (s *Space) Asked(ctx context.Context, pod string) (int, error) {
	body, err := s.Ask(ctx, http.MethodGet, pod, shopPort, "asked", nil)
	if err != nil {
		return 0, err
	}
	var n int
	if err := json.Unmarshal(body, &n); err != nil {
		return 0, fmt.Errorf("read how much %s was asked: %w", pod, err)
	}
	return n, nil
}

// ProxyConfig is what a proxy says it has in force.
type ProxyConfig struct {
	Services []struct {
		Namespace, Name string
		Split           struct {
			Weight         uint32
			Stable, Canary string
			Shares         map[string]uint32
		}
		Endpoints map[string]struct{ Ready, Draining int }
	}
}

// Names of the services as namespace/name, sorted as they are in force.
func (p ProxyConfig) Names() []string {
	var names []string
	for _, s := range p.Services {
		names = append(names, s.Namespace+"/"+s.Name)
	}
	return names
}

// Ready is how many ready pods the service, namespace/name, has.
func (p ProxyConfig) Ready(service string) int {
	ready := 0
	for _, s := range p.Services {
		if s.Namespace+"/"+s.Name == service {
			for _, revision := range s.Endpoints {
				ready += revision.Ready
			}
		}
	}
	return ready
}

// ProxyConfig returns what the pod's proxy has in force.
func (s *Space) ProxyConfig(ctx context.Context, pod string) (ProxyConfig, error) {
	var config ProxyConfig
	body, err := s.Ask(ctx, http.MethodGet, pod, ProxyAdminPort, "config", nil)
	if err != nil {
		return config, err
	}
	if err := json.Unmarshal(body, &config); err != nil {
		return config, fmt.Errorf("read configuration of %s: %w", pod, err)
	}
	return config, nil
}

// ProxyPage returns the page that the pod's proxy has for people.
func (s *Space) ProxyPage(ctx context.Context, pod string) (string, error) {
	body, err := s.Ask(ctx, http.MethodGet, pod, ProxyAdminPort, "", nil)
	return string(body), err
}
