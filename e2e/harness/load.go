package harness

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/sluice-mesh/sluice/e2e/load/ledger"
)

// Clients is a Deployment of load generators.
type Clients struct {
	// Name of the Deployment; empty: load.
	Name string
	// Target is the service that is asked; Counted the one whose versions are counted, if another.
	Target, Counted string
	// Protocol is http, grpc, ws or tcp; empty: http.
	Protocol string
	// Rate of each client, in requests a second.
	Rate float64
	// Slow is the time beyond which an answer is a bad one; zero: none.
	Slow time.Duration
	// Replicas; 0 means 1.
	Replicas int32
	// Timeout after which a request counts as lost; zero: 10 s.
	Timeout time.Duration
	// Cookies is how many visitors each client stands for, who keep their cookies and leave after that many
	// Visits; 0: one that keeps none.
	Cookies, Visits int
}

func (c Clients) name() string {
	if c.Name == "" {
		return "load"
	}
	return c.Name
}

func (c Clients) url() string {
	switch c.Protocol {
	case "grpc":
		return fmt.Sprintf("grpc://%s:%d", c.Target, GRPCPort)
	case "tcp":
		return fmt.Sprintf("tcp://%s:%d", c.Target, TCPPort)
	case "ws":
		return fmt.Sprintf("ws://%s:%d/ws", c.Target, ServicePort)
	default:
		return fmt.Sprintf("http://%s:%d/", c.Target, ServicePort)
	}
}

// Deployment of the clients.
func (c Clients) Deployment() *appsv1.Deployment {
	labels := map[string]string{LabelApp: c.name()}
	env := []corev1.EnvVar{
		{Name: "LOAD_URL", Value: c.url()},
		{Name: "LOAD_SERVICE", Value: c.Counted},
		{Name: "LOAD_RPS", Value: strconv.FormatFloat(c.Rate, 'g', -1, 64)},
		{Name: "LOAD_SLOW", Value: c.Slow.String()},
	}
	if c.Cookies > 0 {
		env = append(env, corev1.EnvVar{Name: "LOAD_COOKIES", Value: strconv.Itoa(c.Cookies)}, corev1.EnvVar{Name: "LOAD_VISITS", Value: strconv.Itoa(c.Visits)})
	}
	if c.Timeout > 0 {
		env = append(env, corev1.EnvVar{Name: "LOAD_TIMEOUT", Value: c.Timeout.String()})
	}
	return &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: c.name(), Labels: labels},
		Spec: appsv1.DeploymentSpec{
			Replicas: ptr.To(max(c.Replicas, 1)),
			Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels},
				Spec: corev1.PodSpec{
					TerminationGracePeriodSeconds: ptr.To[int64](5),
					Containers: []corev1.Container{{
						Name: loadContainer, Image: "sluice.dev/load:dev", ImagePullPolicy: corev1.PullIfNotPresent, Env: env,
						Ports:          []corev1.ContainerPort{{Name: "stats", ContainerPort: statsPort}},
						ReadinessProbe: probe(statsPort),
						Resources:      small(),
					}},
				},
			},
		},
	}
}

// StartLoad deploys clients, waits until they are ready, and returns them one by one.
func (s *Space) StartLoad(ctx context.Context, c Clients) ([]*Load, error) {
	if err := s.Create(ctx, c.Deployment()); err != nil {
		return nil, err
	}
	if err := s.AwaitAvailable(ctx, c.name()); err != nil {
		return nil, err
	}
	pods, err := s.PodsOf(ctx, c.name())
	if err != nil {
		return nil, err
	}
	var loads []*Load
	for _, pod := range pods {
		loads = append(loads, &Load{space: s, Pod: pod.Name})
	}
	return loads, nil
}

// Load is one running client.
type Load struct {
	space *Space
	// Pod is its name.
	Pod string
}

// Stats returns what the client has seen; with the timeline from since on, if that is not zero.
func (l *Load) Stats(ctx context.Context, since time.Time) (ledger.Snapshot, error) {
	params := map[string]string{}
	if !since.IsZero() {
		params["since"] = since.Format(time.RFC3339Nano)
	}
	return l.snapshot(ctx, http.MethodGet, "stats", params)
}

// Cut begins a new window and returns what was seen until now.
func (l *Load) Cut(ctx context.Context) (ledger.Snapshot, error) {
	return l.snapshot(ctx, http.MethodPost, "cut", nil)
}

// Rate changes the client's rate.
func (l *Load) Rate(ctx context.Context, rps float64) error {
	_, err := l.space.Ask(ctx, http.MethodPost, l.Pod, statsPort, "rate", map[string]string{"rps": strconv.FormatFloat(rps, 'g', -1, 64)})
	return err
}

func (l *Load) snapshot(ctx context.Context, method, path string, params map[string]string) (ledger.Snapshot, error) {
	var s ledger.Snapshot
	body, err := l.space.Ask(ctx, method, l.Pod, statsPort, path, params)
	if err != nil {
		return s, err
	}
	if err := json.Unmarshal(body, &s); err != nil {
		return s, fmt.Errorf("read stats of %s: %w", l.Pod, err)
	}
	return s, nil
}

// Answer is what a request got; JSON as e2e/load tells it.
type Answer struct {
	Status int         `json:"status"`
	Header http.Header `json:"header"`
	Body   string      `json:"body"`
}

// Fetch lets the client make one GET that is not part of its statistics. Headers are one value each.
func (l *Load) Fetch(ctx context.Context, url string, headers map[string]string) (Answer, error) {
	var a Answer
	params := map[string]string{"url": url}
	for name, value := range headers {
		params["header."+name] = value
	}
	body, err := l.space.Ask(ctx, http.MethodPost, l.Pod, statsPort, "ask", params)
	if err != nil {
		return a, err
	}
	if err := json.Unmarshal(body, &a); err != nil {
		return a, fmt.Errorf("read answer that %s got: %w", l.Pod, err)
	}
	return a, nil
}

// Poll reads the statistics ten times a second until they satisfy the condition.
func (l *Load) Poll(ctx context.Context, what string, condition func(ledger.Snapshot) bool) (ledger.Snapshot, error) {
	ticker := time.NewTicker(100 * time.Millisecond)
	defer ticker.Stop()
	for {
		s, err := l.Stats(ctx, time.Time{})
		if err == nil && condition(s) {
			return s, nil
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return s, fmt.Errorf("wait for %s at %s (%d answers, %d lost): %w",
				what, l.Pod, s.Window.Answered(), s.Window.Lost, errors.Join(context.Cause(ctx), err))
		}
	}
}

// Flows waits until the window has that many more answers.
func (l *Load) Flows(ctx context.Context, answers uint64) error {
	began, err := l.Stats(ctx, time.Time{})
	if err != nil {
		return err
	}
	_, err = l.Poll(ctx, fmt.Sprintf("%d answers", answers), func(s ledger.Snapshot) bool {
		return s.Total.Answered() >= began.Total.Answered()+answers
	})
	return err
}

// Ask calls a pod's HTTP port through the API server.
func (s *Space) Ask(ctx context.Context, method, pod string, port int, path string, params map[string]string) ([]byte, error) {
	request := s.Kube.CoreV1().RESTClient().Verb(method).Namespace(s.Name).Resource("pods").
		Name(fmt.Sprintf("%s:%d", pod, port)).SubResource("proxy").Suffix(path)
	for k, v := range params {
		request.Param(k, v)
	}
	body, err := request.DoRaw(ctx)
	if err != nil {
		return nil, fmt.Errorf("ask %s for %s: %w: %s", pod, path, err, tail(string(body), 300))
	}
	return body, nil
}
