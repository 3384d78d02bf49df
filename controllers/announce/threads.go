package announce

import (
	"context"
	"encoding/json"
	"fmt"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-mesh/sluice/api/v1alpha1"
	"github.com/sluice-mesh/sluice/notifier/slack"
)

// Threads remembers in the Rollout itself where the release's chat message is, so that a new leader goes
// on with the same message, and nothing is left when the Rollout goes.
type Threads struct {
	Client client.Client
	Reader client.Reader
}

// remembered is the annotation's value: one release's message.
type remembered struct {
	Release string    `json:"release"`
	Target  string    `json:"target"`
	Ref     slack.Ref `json:"ref"`
}

// Load finds the message of a release.
func (t *Threads) Load(ctx context.Context, key slack.Key) (slack.Ref, bool, error) {
	var rollout v1alpha1.Rollout
	if err := t.Reader.Get(ctx, client.ObjectKey{Namespace: key.Namespace, Name: key.Rollout}, &rollout); err != nil {
		return slack.Ref{}, false, client.IgnoreNotFound(err)
	}
	var r remembered
	if err := json.Unmarshal([]byte(rollout.Annotations[v1alpha1.AnnotationThread]), &r); err != nil || r.Release != key.Release || r.Target != key.Channel {
		return slack.Ref{}, false, nil //nolint:nilerr // an annotation that cannot be read is one that is not there
	}
	return r.Ref, true, nil
}

// Save keeps where the message of a release is.
func (t *Threads) Save(ctx context.Context, key slack.Key, ref slack.Ref) error {
	value, err := json.Marshal(remembered{Release: key.Release, Target: key.Channel, Ref: ref})
	if err != nil {
		return fmt.Errorf("render thread: %w", err)
	}
	// A Rollout that is gone needs no memory.
	return client.IgnoreNotFound(annotate(ctx, t.Client, key.Namespace, key.Rollout, v1alpha1.AnnotationThread, string(value)))
}

// annotate sets one annotation of a Rollout and touches nothing else.
func annotate(ctx context.Context, c client.Client, namespace, name, annotation, value string) error {
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"annotations": map[string]string{annotation: value}}})
	if err != nil {
		return fmt.Errorf("render annotation: %w", err)
	}
	rollout := &v1alpha1.Rollout{}
	rollout.Namespace, rollout.Name = namespace, name
	if err := c.Patch(ctx, rollout, client.RawPatch("application/merge-patch+json", patch)); err != nil {
		return fmt.Errorf("annotate rollout %s/%s: %w", namespace, name, err)
	}
	return nil
}
