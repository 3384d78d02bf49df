package cli

import (
	"context"
	"fmt"
	"strconv"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-mesh/sluice/api/v1alpha1"
)

const (
	// reconnect is how long follow waits before it watches again.
	reconnect = 500 * time.Millisecond
	// again is how often follow shows the state though nothing has been heard.
	again = time.Second
)

// follow calls see with each state of one Rollout, the present one first, until see says that it is done
// or the context ends. Where it hears nothing for a second it asks and shows the state again: a watch may
// be dead without a word, ages grow, and see may look at more than the Rollout. A watch that ends is begun
// again; a deletion is an error.
func follow(ctx context.Context, c client.WithWatch, namespace, name string, see func(*v1alpha1.Rollout) (done bool, err error)) error {
	for {
		rollout, err := find(ctx, c, namespace, name)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			return err
		}
		if done, err := see(rollout); done || err != nil {
			return err
		}
		done, err := watchOnce(ctx, c, rollout, see)
		if done || err != nil {
			return err
		}
		pause := time.NewTimer(reconnect)
		select {
		case <-ctx.Done():
			pause.Stop()
			return ctx.Err()
		case <-pause.C:
		}
	}
}

// watchOnce follows from the state given until the watch ends.
func watchOnce(ctx context.Context, c client.WithWatch, from *v1alpha1.Rollout, see func(*v1alpha1.Rollout) (bool, error)) (bool, error) {
	watcher, err := c.Watch(ctx, &v1alpha1.RolloutList{}, &client.ListOptions{
		Namespace:     from.Namespace,
		FieldSelector: fields.OneTermEqualSelector(metav1.ObjectNameField, from.Name),
		Raw:           &metav1.ListOptions{ResourceVersion: from.ResourceVersion},
	})
	switch {
	case ctx.Err() != nil:
		return false, ctx.Err()
	case apierrors.IsForbidden(err):
		return false, advise(err, "watch rollout "+from.Name)
	case err != nil:
		return false, nil // the API server is away, or the version is too old: begin again
	}
	defer watcher.Stop()
	ticker := time.NewTicker(again)
	defer ticker.Stop()
	for present := from; ; {
		var next *v1alpha1.Rollout
		select {
		case <-ctx.Done():
			return false, ctx.Err()
		case <-ticker.C:
			if next, err = find(ctx, c, from.Namespace, from.Name); err != nil {
				return false, nil // beginning again tells whether it lasts
			}
		case event, open := <-watcher.ResultChan():
			if !open || event.Type == watch.Error {
				return false, nil
			}
			rollout, isRollout := event.Object.(*v1alpha1.Rollout)
			if !isRollout || rollout.Name != from.Name || rollout.Namespace != from.Namespace {
				continue
			}
			if event.Type == watch.Deleted {
				return false, fmt.Errorf("rollout %s was deleted", from.Name)
			}
			if next = rollout; !newer(next, present) {
				continue // it was asked for already
			}
			ticker.Reset(again)
		}
		present = next
		if done, err := see(present); done || err != nil {
			return done, err
		}
	}
}

// newer compares states of one object. Resource versions of one resource are numbers that only rise.
func newer(a, b *v1alpha1.Rollout) bool {
	x, errX := strconv.ParseUint(a.ResourceVersion, 10, 64)
	y, errY := strconv.ParseUint(b.ResourceVersion, 10, 64)
	return errX != nil || errY != nil || x > y
}
