package harness

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-mesh/sluice/api/v1alpha1"
)

// labelSpace marks the namespaces made here.
const labelSpace = "sluice.dev/e2e"

// Space is a namespace of its own for one test, the demo or one benchmark.
type Space struct {
	*Cluster
	// Name of the namespace.
	Name string
}

// NewSpace makes a namespace whose name begins with the given word, which may have any characters.
// Pods in it get a proxy if inject is set.
func (c *Cluster) NewSpace(ctx context.Context, word string, inject bool) (*Space, error) {
	name := fmt.Sprintf("%s-%04x", label(word), rand.IntN(1<<16))
	return c.makeSpace(ctx, name, inject)
}

// FixedSpace makes a namespace of exactly this name, after removing one that is there.
func (c *Cluster) FixedSpace(ctx context.Context, name string, inject bool) (*Space, error) {
	if err := (&Space{Cluster: c, Name: name}).Delete(ctx); err != nil {
		return nil, err
	}
	return c.makeSpace(ctx, name, inject)
}

func (c *Cluster) makeSpace(ctx context.Context, name string, inject bool) (*Space, error) {
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{labelSpace: "true"}}}
	if inject {
		ns.Labels[v1alpha1.LabelInject] = "enabled"
	}
	if err := c.Client.Create(ctx, ns); err != nil {
		return nil, fmt.Errorf("create namespace: %w", err)
	}
	return &Space{Cluster: c, Name: name}, nil
}

// label makes a name of at most 40 characters that is fit for a namespace.
func label(word string) string {
	mapped := strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9':
			return r
		case r >= 'A' && r <= 'Z':
			return r + 'a' - 'A'
		default:
			return '-'
		}
	}, word)
	if len(mapped) > 40 {
		mapped = mapped[:40]
	}
	return strings.Trim(mapped, "-")
}

// Delete removes the namespace with all that is in it and returns when it is gone. Rollouts go first,
// while what they restore is still there.
func (s *Space) Delete(ctx context.Context) error {
	ns := &corev1.Namespace{}
	switch err := s.Client.Get(ctx, client.ObjectKey{Name: s.Name}, ns); {
	case apierrors.IsNotFound(err):
		return nil
	case err != nil:
		return fmt.Errorf("get namespace: %w", err)
	}
	spaces, err := Follow[*corev1.Namespace](ctx, s.Client, &corev1.NamespaceList{}, client.MatchingFields{"metadata.name": s.Name})
	if err != nil {
		return err
	}
	defer spaces.Stop()
	if err := s.deleteRollouts(ctx); err != nil {
		return err
	}
	if err := s.Client.Delete(ctx, ns); client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("delete namespace: %w", err)
	}
	return spaces.Await(ctx, "namespace "+s.Name+" to be gone", func(left []*corev1.Namespace) bool { return len(left) == 0 })
}

func (s *Space) deleteRollouts(ctx context.Context) error {
	if err := s.Client.List(ctx, &v1alpha1.RolloutList{}, client.InNamespace(s.Name)); meta.IsNoMatchError(err) {
		return nil // Sluice is not installed
	}
	rollouts, err := Follow[*v1alpha1.Rollout](ctx, s.Client, &v1alpha1.RolloutList{}, client.InNamespace(s.Name))
	if err != nil {
		return err
	}
	defer rollouts.Stop()
	for _, r := range rollouts.Current() {
		if err := s.Client.Delete(ctx, r); client.IgnoreNotFound(err) != nil {
			return fmt.Errorf("delete rollout: %w", err)
		}
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	return rollouts.Await(ctx, "rollouts in "+s.Name+" to be gone", func(left []*v1alpha1.Rollout) bool { return len(left) == 0 })
}

// Create creates an object in the namespace.
func (s *Space) Create(ctx context.Context, o client.Object) error {
	o.SetNamespace(s.Name)
	if err := s.Client.Create(ctx, o); err != nil {
		return fmt.Errorf("create %s: %w", o.GetName(), err)
	}
	return nil
}

// Get reads an object of the namespace.
func (s *Space) Get(ctx context.Context, name string, o client.Object) error {
	if err := s.Client.Get(ctx, client.ObjectKey{Namespace: s.Name, Name: name}, o); err != nil {
		return fmt.Errorf("get %s: %w", name, err)
	}
	return nil
}
