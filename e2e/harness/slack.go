package harness

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-mesh/sluice/notifier/slack/slackfake"
)

// The stand-in for Slack, which speaks Slack's protocol. The installation is told of it from the start;
// as long as no test starts it, Slack is away, which must not matter.
const (
	slackNamespace = "e2e-slack"
	slackName      = "slack"
	slackPort      = 8080
	slackSecret    = "sluice-slack"
	// InstallationApprover may approve every release.
	InstallationApprover = "U0INSTALL"
)

// slackValues are the chart's values that make the installation use the stand-in.
func slackValues() []string {
	return []string{
		"--set", "slack.existingSecret=" + slackSecret,
		"--set", "slack.approvers={" + InstallationApprover + "}",
		"--set", fmt.Sprintf("slack.apiURL=http://%s.%s.svc.cluster.local:%d/api/", slackName, slackNamespace, slackPort),
	}
}

// ensureSlackSecret creates the Secret with the stand-in's tokens, in the installation's namespace.
func (c *Cluster) ensureSlackSecret(ctx context.Context) error {
	for _, o := range []client.Object{
		&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: SystemNamespace}},
		&corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{Namespace: SystemNamespace, Name: slackSecret},
			StringData: map[string]string{"bot-token": "xoxb-fake", "app-token": "xapp-fake"},
		},
	} {
		if err := c.Client.Create(ctx, o); err != nil && client.IgnoreAlreadyExists(err) != nil {
			return fmt.Errorf("create %s: %w", o.GetName(), err)
		}
	}
	return nil
}

// Slack is the stand-in, running.
type Slack struct {
	*Space
	address string
}

// StartSlack starts the stand-in and waits until it serves. Delete its Space in the end.
func (c *Cluster) StartSlack(ctx context.Context) (*Slack, error) {
	space, err := c.FixedSpace(ctx, slackNamespace, false)
	if err != nil {
		return nil, err
	}
	labels := map[string]string{LabelApp: slackName}
	deployment := &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: slackName},
		Spec: appsv1.DeploymentSpec{
			Replicas: ptr.To[int32](1), Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels},
				Spec: corev1.PodSpec{Containers: []corev1.Container{{
					Name: slackName, Image: "sluice.dev/slackfake:dev", ImagePullPolicy: corev1.PullIfNotPresent,
					Ports: []corev1.ContainerPort{{ContainerPort: slackPort}}, Resources: small(),
				}}},
			},
		},
	}
	service := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: slackName},
		Spec:       corev1.ServiceSpec{Selector: labels, Ports: []corev1.ServicePort{{Port: slackPort}}},
	}
	for _, o := range []client.Object{deployment, service} {
		if err := space.Create(ctx, o); err != nil {
			return nil, err
		}
	}
	if err := space.AwaitAvailable(ctx, slackName); err != nil {
		return nil, err
	}
	return &Slack{space, fmt.Sprintf("http://%s:%d", service.Spec.ClusterIP, slackPort)}, nil
}

// State of the workspace: what was posted and who is connected.
func (s *Slack) State(ctx context.Context) (slackfake.State, error) {
	var state slackfake.State
	return state, s.call(ctx, http.MethodGet, "/control/state", nil, &state)
}

// Press presses a button as a person.
func (s *Slack) Press(ctx context.Context, press slackfake.Press) error {
	return s.call(ctx, http.MethodPost, "/control/press", press, nil)
}

// Until asks for the state until a condition holds.
func (s *Slack) Until(ctx context.Context, what string, condition func(slackfake.State) bool) (slackfake.State, error) {
	ticker := time.NewTicker(200 * time.Millisecond)
	defer ticker.Stop()
	for {
		state, err := s.State(ctx)
		if err == nil && condition(state) {
			return state, nil
		}
		select {
		case <-ctx.Done():
			return state, fmt.Errorf("wait for %s in Slack: %w (%d messages)", what, errors.Join(ctx.Err(), err), len(state.Messages))
		case <-ticker.C:
		}
	}
}

func (s *Slack) call(ctx context.Context, method, path string, body, answer any) error {
	sent, err := json.Marshal(body)
	if err != nil {
		return fmt.Errorf("render request: %w", err)
	}
	request, err := http.NewRequestWithContext(ctx, method, s.address+path, bytes.NewReader(sent))
	if err != nil {
		return fmt.Errorf("make request: %w", err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return fmt.Errorf("ask the stand-in for Slack: %w", err)
	}
	defer response.Body.Close()
	got, err := io.ReadAll(io.LimitReader(response.Body, 16<<20))
	if err != nil {
		return fmt.Errorf("read answer: %w", err)
	}
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s %s: %s: %s", method, path, response.Status, tail(string(got), 300))
	}
	if answer == nil {
		return nil
	}
	return json.Unmarshal(got, answer)
}
