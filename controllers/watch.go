package controllers

import (
	"context"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
)

// watchMesh enqueues the releases that wait, whenever the mesh says that something changed. It returns
// at once; its goroutine ends with the context.
func (r *RolloutReconciler) watchMesh(ctx context.Context, queue workqueue.TypedRateLimitingInterface[reconcile.Request]) error {
	go func() {
		for {
			changed := r.Mesh.Changed()
			r.wakeReleases(ctx, func(key types.NamespacedName) {
				queue.Add(reconcile.Request{NamespacedName: key})
			})
			select {
			case <-ctx.Done():
				return
			case <-changed:
			}
		}
	}()
	return nil
}
