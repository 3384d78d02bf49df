package controllers

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-mesh/sluice/api/v1alpha1"
	"github.com/sluice-mesh/sluice/controllers/plan"
)

var (
	deploymentKind = appsv1.SchemeGroupVersion.WithKind("Deployment")
	replicaSetKind = appsv1.SchemeGroupVersion.WithKind("ReplicaSet")
)

// world is one pass over the cluster: the objects that plan.Observed was made from, kept so that every
// write carries the resourceVersion that was looked at.
type world struct {
	rollout *v1alpha1.Rollout
	// deployment is nil when it does not exist; typed is its read-only typed form.
	deployment *unstructured.Unstructured
	typed      *appsv1.Deployment
	// replicaSets that match the Deployment's selector, by name.
	replicaSets map[string]*unstructured.Unstructured
	service     *corev1.Service
	// pods that match the Deployment's selector.
	pods     []corev1.Pod
	observed plan.Observed
}

// gather looks at everything that a decision about one Rollout depends on.
func (r *RolloutReconciler) gather(ctx context.Context, rollout *v1alpha1.Rollout) (*world, error) {
	w := &world{rollout: rollout, replicaSets: map[string]*unstructured.Unstructured{}}
	w.observed = plan.Observed{
		Spec: rollout.Spec, Generation: rollout.Generation, Status: *rollout.Status.DeepCopy(),
		Deleting: !rollout.DeletionTimestamp.IsZero(),
	}
	for _, step := range []func(context.Context, *world) error{
		r.gatherWorkload, r.gatherReplicaSets, r.gatherService, r.gatherConflicts, r.gatherMesh,
	} {
		if err := step(ctx, w); err != nil {
			return nil, err
		}
	}
	w.observed.Command = pendingCommand(rollout)
	w.observed.Verdict = r.Looks.newest(rollout)
	return w, nil
}

// pendingCommand reads a person's order that has not been acted on.
func pendingCommand(rollout *v1alpha1.Rollout) *v1alpha1.Command {
	value := rollout.Annotations[v1alpha1.AnnotationCommand]
	if value == "" {
		return nil
	}
	command, err := v1alpha1.ParseCommand(value)
	if err != nil {
		// What cannot be read is refused by the plan as an unknown verb, once.
		command = &v1alpha1.Command{ID: safeHash([]byte(value)), Verb: v1alpha1.Verb(err.Error())}
	}
	if last := rollout.Status.LastCommand; last != nil && last.ID == command.ID {
		return nil
	}
	return command
}

func (r *RolloutReconciler) gatherWorkload(ctx context.Context, w *world) error {
	u := &unstructured.Unstructured{}
	u.SetGroupVersionKind(deploymentKind)
	err := r.Client.Get(ctx, types.NamespacedName{Namespace: w.rollout.Namespace, Name: w.rollout.Spec.WorkloadRef.Name}, u)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("get deployment: %w", err)
	}
	w.deployment = u
	if w.typed, err = deploymentOf(u); err != nil {
		return err
	}
	replicas := int32(1)
	if w.typed.Spec.Replicas != nil {
		replicas = *w.typed.Spec.Replicas
	}
	_, held := u.GetAnnotations()[v1alpha1.AnnotationHeld]
	w.observed.Workload = plan.Workload{
		Exists: true, UID: string(u.GetUID()),
		Terminating:  u.GetDeletionTimestamp() != nil,
		Labelled:     u.GetLabels()[v1alpha1.LabelRollout] == w.rollout.Name,
		Replicas:     replicas,
		TemplateHash: templateHash(u),
		Images:       images(u),
		Paused:       w.typed.Spec.Paused,
		Held:         held,
	}
	return nil
}

func (r *RolloutReconciler) gatherReplicaSets(ctx context.Context, w *world) error {
	if w.deployment == nil {
		return r.gatherOrphanedCanary(ctx, w)
	}
	selector, err := metav1.LabelSelectorAsSelector(w.typed.Spec.Selector)
	if err != nil {
		return fmt.Errorf("read selector of deployment %s: %w", w.deployment.GetName(), err)
	}
	list := &unstructured.UnstructuredList{}
	list.SetGroupVersionKind(replicaSetKind)
	inNamespace := client.InNamespace(w.rollout.Namespace)
	if err := r.Client.List(ctx, list, inNamespace, client.MatchingLabelsSelector{Selector: selector}); err != nil {
		return fmt.Errorf("list replicasets: %w", err)
	}
	var pods corev1.PodList
	if err := r.Client.List(ctx, &pods, inNamespace, client.MatchingLabelsSelector{Selector: selector}); err != nil {
		return fmt.Errorf("list pods: %w", err)
	}
	w.pods = pods.Items
	var seen []seenReplicaSet
	for i := range list.Items {
		u := &list.Items[i]
		w.replicaSets[u.GetName()] = u
		rs, err := r.see(w, u)
		if err != nil {
			return err
		}
		seen = append(seen, rs)
	}
	status := w.rollout.Status
	w.observed.Stable = pickStable(seen, status.Stable)
	w.observed.Canary = w.named(seen, status.Canary)
	w.observed.Native = pickNative(seen, w.observed.Workload.TemplateHash, w.observed.Stable.Name, w.observed.Canary.Name)
	w.observed.Workload.Settled = settled(w.typed, seen)
	if stable := w.replicaSets[w.observed.Stable.Name]; stable != nil {
		w.observed.Workload.Prunable = int32(len(w.prunable(stable))) //nolint:gosec // bounded by the history's length
	}
	return nil
}

// named is the ReplicaSet of a revision; when it is gone itself, its pods may still be there.
func (w *world) named(seen []seenReplicaSet, revision *v1alpha1.Revision) plan.ReplicaSet {
	if revision == nil {
		return plan.ReplicaSet{}
	}
	for _, rs := range seen {
		if rs.Name == revision.ReplicaSet {
			return rs.ReplicaSet
		}
	}
	var gone plan.ReplicaSet
	for i := range w.pods {
		if w.pods[i].Labels[hashLabel] == revision.Hash && alive(&w.pods[i]) {
			gone.Pods++
		}
	}
	return gone
}

// prunable lists owned ReplicaSets at zero that are newer than stable: scaling from zero while held
// picks the newest, which may be a rejected one.
func (w *world) prunable(stable *unstructured.Unstructured) []*unstructured.Unstructured {
	var out []*unstructured.Unstructured
	for name, u := range w.replicaSets {
		controller := metav1.GetControllerOf(u)
		replicas, _, _ := unstructured.NestedInt64(u.Object, "spec", "replicas")
		created, than := u.GetCreationTimestamp(), stable.GetCreationTimestamp()
		if name != stable.GetName() && name != w.observed.Native.Name && replicas == 0 && u.GetDeletionTimestamp() == nil &&
			controller != nil && controller.UID == w.deployment.GetUID() && than.Before(&created) {
			out = append(out, u)
		}
	}
	return out
}

// gatherOrphanedCanary finds what is left of a release whose Deployment is gone.
func (r *RolloutReconciler) gatherOrphanedCanary(ctx context.Context, w *world) error {
	canary := w.rollout.Status.Canary
	if canary == nil || canary.ReplicaSet == "" {
		return nil
	}
	u := &unstructured.Unstructured{}
	u.SetGroupVersionKind(replicaSetKind)
	err := r.Client.Get(ctx, types.NamespacedName{Namespace: w.rollout.Namespace, Name: canary.ReplicaSet}, u)
	if err != nil {
		return client.IgnoreNotFound(err)
	}
	var pods corev1.PodList
	if err := r.Client.List(ctx, &pods, client.InNamespace(w.rollout.Namespace), client.MatchingLabels{hashLabel: canary.Hash}); err != nil {
		return fmt.Errorf("list pods: %w", err)
	}
	w.pods = pods.Items
	w.replicaSets[u.GetName()] = u
	seen, err := r.see(w, u)
	w.observed.Canary = seen.ReplicaSet
	return err
}

// seenReplicaSet adds what picking needs to what the plan sees.
type seenReplicaSet struct {
	plan.ReplicaSet
	created metav1.Time
	// current is status.replicas: pods that are not terminating.
	current int32
}

// see reads one ReplicaSet and its pods.
func (r *RolloutReconciler) see(w *world, u *unstructured.Unstructured) (seenReplicaSet, error) {
	typed, err := replicaSetOf(u)
	if err != nil {
		return seenReplicaSet{}, err
	}
	rs := plan.ReplicaSet{
		Exists: true, Name: u.GetName(), UID: string(u.GetUID()),
		Hash: u.GetLabels()[hashLabel], TemplateHash: templateHash(u), Images: images(u),
		Replicas: 1, Ready: typed.Status.ReadyReplicas, Available: typed.Status.AvailableReplicas,
		Terminating: u.GetDeletionTimestamp() != nil,
	}
	if typed.Spec.Replicas != nil {
		rs.Replicas = *typed.Spec.Replicas
	}
	if controller := metav1.GetControllerOf(u); controller != nil {
		rs.Owned = w.deployment != nil && controller.UID == w.deployment.GetUID()
		rs.Ours = controller.Kind == "ConfigMap" && controller.Name == holderName(w.rollout)
	}
	for i := range w.pods {
		pod := &w.pods[i]
		if controller := metav1.GetControllerOf(pod); controller == nil || controller.UID != u.GetUID() {
			continue
		}
		if !alive(pod) {
			continue
		}
		rs.Pods++
		if rs.Trouble == "" {
			rs.Trouble = trouble(pod)
		}
	}
	return seenReplicaSet{rs, u.GetCreationTimestamp(), typed.Status.Replicas}, nil
}

// alive tells whether a pod exists and has not ended.
func alive(pod *corev1.Pod) bool {
	return pod.Status.Phase != corev1.PodSucceeded && pod.Status.Phase != corev1.PodFailed
}

// trouble says why a pod does not start, or "".
func trouble(pod *corev1.Pod) string {
	all := slices.Concat(pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses)
	for _, c := range all {
		if waiting := c.State.Waiting; waiting != nil && waiting.Reason != "" &&
			waiting.Reason != "ContainerCreating" && waiting.Reason != "PodInitializing" {
			return fmt.Sprintf("pod %s, container %s: %s", pod.Name, c.Name, waiting.Reason)
		}
	}
	for _, condition := range pod.Status.Conditions {
		if condition.Type == corev1.PodScheduled && condition.Status == corev1.ConditionFalse {
			return fmt.Sprintf("pod %s cannot be scheduled: %s", pod.Name, condition.Message)
		}
	}
	return ""
}

// pickStable is the ReplicaSet that status names; where status names none, of the owned ones with pods
// the one with most available pods (held in the middle of a native rollout there are several).
func pickStable(seen []seenReplicaSet, named *v1alpha1.Revision) plan.ReplicaSet {
	var best plan.ReplicaSet
	for _, rs := range seen {
		if named != nil {
			if rs.Name == named.ReplicaSet {
				return rs.ReplicaSet
			}
			continue
		}
		if rs.Owned && (rs.Replicas > 0 || rs.Pods > 0) && (!best.Exists || rs.Available > best.Available) {
			best = rs.ReplicaSet
		}
	}
	return best
}

// pickNative is the oldest owned ReplicaSet with the Deployment's present template, other than stable and
// a canary that was handed over: the one that the Deployment controller takes as its new one.
func pickNative(seen []seenReplicaSet, template, stable, canary string) plan.ReplicaSet {
	var oldest seenReplicaSet
	for _, rs := range seen {
		if !rs.Owned || rs.Name == stable || rs.Name == canary || rs.TemplateHash != template {
			continue
		}
		if !oldest.Exists || rs.created.Before(&oldest.created) {
			oldest = rs
		}
	}
	return oldest.ReplicaSet
}

// settled tells whether the Deployment controller has nothing left to do: it has seen the newest
// generation and at most one owned ReplicaSet is not at zero. Pods that are terminating do not count, or
// one on a lost node would hold everything up.
func settled(deployment *appsv1.Deployment, seen []seenReplicaSet) bool {
	if deployment.Status.ObservedGeneration < deployment.Generation {
		return false
	}
	active := 0
	for _, rs := range seen {
		if rs.Owned && (rs.Replicas > 0 || rs.current > 0) {
			active++
		}
	}
	return active <= 1
}

func (r *RolloutReconciler) gatherService(ctx context.Context, w *world) error {
	if err := r.gatherLeftovers(ctx, w); err != nil {
		return err
	}
	service := &corev1.Service{}
	key := types.NamespacedName{Namespace: w.rollout.Namespace, Name: w.rollout.Spec.Service.Name}
	if narrowed := w.rollout.Status.Narrowed; narrowed != nil {
		key.Name = narrowed.Service // what was narrowed is what must be restored, even if the spec names another now
	}
	if err := r.Client.Get(ctx, key, service); err != nil {
		return client.IgnoreNotFound(err)
	}
	w.service = service
	o := &w.observed.Service
	o.Exists, o.UID = true, string(service.UID)
	own := maps.Clone(service.Spec.Selector)
	if narrowed := w.rollout.Status.Narrowed; narrowed != nil && own[hashLabel] == narrowed.Hash || w.ours(own[hashLabel]) {
		o.Narrowed = own[hashLabel]
		delete(own, hashLabel)
	}
	if w.typed != nil {
		o.Selects = len(own) > 0 && labels.SelectorFromSet(own).Matches(labels.Set(w.typed.Spec.Template.Labels))
	}
	o.OnlyStable = r.onlyStable(w, service)
	if canary := w.observed.Canary; canary.Exists {
		ready, err := r.readyEndpoints(ctx, w, service.Name, canary.Hash)
		if err != nil {
			return err
		}
		o.CanaryReady = ready
	}
	return nil
}

// gatherLeftovers looks for what Sluice creates beside the canary itself.
func (r *RolloutReconciler) gatherLeftovers(ctx context.Context, w *world) error {
	canaryService := &corev1.Service{}
	err := r.Client.Get(ctx, types.NamespacedName{Namespace: w.rollout.Namespace, Name: canaryServiceName(w.rollout)}, canaryService)
	if err == nil && canaryService.Labels[v1alpha1.LabelManagedBy] == w.rollout.Name {
		w.observed.Service.CanaryServiceHash = canaryService.Spec.Selector[hashLabel]
		w.observed.Leftovers = true
	} else if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("get canary service: %w", err)
	}
	if w.observed.Leftovers || w.rollout.Status.Release == nil {
		return nil // without a release there was never a holder
	}
	holder := &corev1.ConfigMap{}
	err = r.Reader.Get(ctx, types.NamespacedName{Namespace: w.rollout.Namespace, Name: holderName(w.rollout)}, holder)
	w.observed.Leftovers = err == nil && holder.Labels[v1alpha1.LabelManagedBy] == w.rollout.Name
	return wrap(client.IgnoreNotFound(err), "get canary's holder")
}

// ours tells whether a hash in the Service's selector is one of a revision of this Rollout: then it was
// put there by narrowing, though the memory of it was lost.
func (w *world) ours(hash string) bool {
	if hash == "" {
		return false
	}
	for _, revision := range []*v1alpha1.Revision{w.rollout.Status.Stable, w.rollout.Status.Canary} {
		if revision != nil && revision.Hash == hash {
			return true
		}
	}
	return false
}

// onlyStable tells whether every pod that the Service selects belongs to the stable ReplicaSet.
func (r *RolloutReconciler) onlyStable(w *world, service *corev1.Service) bool {
	selector := labels.SelectorFromSet(service.Spec.Selector)
	for i := range w.pods {
		pod := &w.pods[i]
		if !selector.Matches(labels.Set(pod.Labels)) {
			continue
		}
		if controller := metav1.GetControllerOf(pod); controller == nil || controller.Name != w.observed.Stable.Name {
			return false
		}
	}
	return true
}

// readyEndpoints counts the ready endpoints of one revision in a Service's own slices.
func (r *RolloutReconciler) readyEndpoints(ctx context.Context, w *world, service, hash string) (int32, error) {
	var slicesOf discoveryv1.EndpointSliceList
	if err := r.Client.List(ctx, &slicesOf, client.InNamespace(w.rollout.Namespace),
		client.MatchingLabels{discoveryv1.LabelServiceName: service}); err != nil {
		return 0, fmt.Errorf("list endpoint slices: %w", err)
	}
	revision := map[types.UID]string{}
	for i := range w.pods {
		revision[w.pods[i].UID] = w.pods[i].Labels[hashLabel]
	}
	ready := map[types.UID]bool{}
	for _, slice := range slicesOf.Items {
		for _, endpoint := range slice.Endpoints {
			if endpoint.TargetRef == nil || endpoint.Conditions.Ready == nil || !*endpoint.Conditions.Ready {
				continue
			}
			if revision[endpoint.TargetRef.UID] == hash {
				ready[endpoint.TargetRef.UID] = true
			}
		}
	}
	return int32(len(ready)), nil //nolint:gosec // pods of one revision
}

// gatherConflicts finds what makes the Rollout's spec impossible to act on.
func (r *RolloutReconciler) gatherConflicts(ctx context.Context, w *world) error {
	o := &w.observed
	var rollouts v1alpha1.RolloutList
	if err := r.Client.List(ctx, &rollouts, client.InNamespace(w.rollout.Namespace)); err != nil {
		return fmt.Errorf("list rollouts: %w", err)
	}
	for i := range rollouts.Items {
		other := &rollouts.Items[i]
		if other.UID == w.rollout.UID || !v1alpha1.Older(other, w.rollout) {
			continue
		}
		if other.Spec.WorkloadRef.Name == w.rollout.Spec.WorkloadRef.Name {
			o.InvalidReason = v1alpha1.ReasonConflict
			o.Invalid = fmt.Sprintf("spec.workloadRef: Deployment %s already belongs to Rollout %s, which is older; delete one of the two Rollouts", other.Spec.WorkloadRef.Name, other.Name)
			return nil
		}
		if other.Spec.Service.Name == w.rollout.Spec.Service.Name {
			o.InvalidReason = v1alpha1.ReasonConflict
			o.Invalid = fmt.Sprintf("spec.service: Service %s already belongs to Rollout %s, which is older; give this Rollout a Service of its own", other.Spec.Service.Name, other.Name)
			return nil
		}
	}
	if w.typed == nil {
		return nil
	}
	if w.typed.Spec.Strategy.Type == appsv1.RecreateDeploymentStrategyType {
		o.InvalidReason = v1alpha1.ReasonInvalid
		o.Invalid = fmt.Sprintf("spec.workloadRef: Deployment %s has strategy Recreate, which stops all pods at once; set spec.strategy.type to RollingUpdate", w.typed.Name)
		return nil
	}
	if limit := w.typed.Spec.RevisionHistoryLimit; limit != nil && *limit == 0 {
		o.InvalidReason = v1alpha1.ReasonInvalid
		o.Invalid = fmt.Sprintf("spec.workloadRef: Deployment %s has revisionHistoryLimit 0, which deletes the version to go back to; set it to at least 1", w.typed.Name)
		return nil
	}
	return r.gatherOverlaps(ctx, w)
}

// gatherOverlaps refuses Deployments whose selectors match each other's pods: one could adopt the
// other's canary.
func (r *RolloutReconciler) gatherOverlaps(ctx context.Context, w *world) error {
	mine, err := metav1.LabelSelectorAsSelector(w.typed.Spec.Selector)
	if err != nil {
		return fmt.Errorf("read selector: %w", err)
	}
	list := &unstructured.UnstructuredList{}
	list.SetGroupVersionKind(deploymentKind)
	if err := r.Client.List(ctx, list, client.InNamespace(w.rollout.Namespace)); err != nil {
		return fmt.Errorf("list deployments: %w", err)
	}
	for i := range list.Items {
		u := &list.Items[i]
		if u.GetUID() == w.deployment.GetUID() {
			continue
		}
		other, err := deploymentOf(u)
		if err != nil {
			return err
		}
		theirs, err := metav1.LabelSelectorAsSelector(other.Spec.Selector)
		if err != nil {
			continue
		}
		if theirs.Matches(labels.Set(w.typed.Spec.Template.Labels)) || mine.Matches(labels.Set(other.Spec.Template.Labels)) {
			w.observed.InvalidReason = v1alpha1.ReasonConflict
			w.observed.Invalid = fmt.Sprintf("spec.workloadRef: the selectors of Deployments %s and %s match each other's pods; give each a label of its own", w.typed.Name, other.Name)
			return nil
		}
	}
	return nil
}

func (r *RolloutReconciler) gatherMesh(ctx context.Context, w *world) error {
	o := &w.observed.Mesh
	weight := w.rollout.Status.Weight
	service := types.NamespacedName{Namespace: w.rollout.Namespace, Name: w.rollout.Spec.Service.Name}
	inForce := r.Mesh.InForce(service, string(w.rollout.UID), weight.Epoch)
	expected, err := r.injectedPods(ctx)
	if err != nil {
		return err
	}
	o.Epoch, o.Rejected = weight.Epoch, inForce.Rejected
	waiting := map[string]bool{}
	for node, live := range inForce.Connected {
		if !live {
			waiting[node] = true
		}
	}
	for _, node := range expected {
		if live, connected := inForce.Connected[node]; !connected || !live {
			waiting[node] = true
		}
	}
	for _, replica := range inForce.Lagging {
		waiting["operator "+replica] = true
	}
	o.Pending = slices.Sorted(maps.Keys(waiting))
	o.Live = inForce.Published && len(o.Pending) == 0

	for _, revision := range []struct {
		hash  string
		count *int32
	}{{hashOf(w.rollout.Status.Stable), &o.StableEndpoints}, {hashOf(w.rollout.Status.Canary), &o.CanaryEndpoints}} {
		if revision.hash == "" {
			continue
		}
		for _, name := range []string{service.Name, canaryServiceName(w.rollout)} {
			ready, err := r.readyEndpoints(ctx, w, name, revision.hash)
			if err != nil {
				return err
			}
			*revision.count = max(*revision.count, ready)
		}
	}
	return nil
}

func hashOf(revision *v1alpha1.Revision) string {
	if revision == nil {
		return ""
	}
	return revision.Hash
}

// injectedPods names the proxies that should act: those of ready pods with a sidecar, as node ids.
func (r *RolloutReconciler) injectedPods(ctx context.Context) ([]string, error) {
	var pods corev1.PodList
	if err := r.Client.List(ctx, &pods, client.MatchingFields{injectedIndex: "ready"}); err != nil {
		return nil, fmt.Errorf("list pods with a proxy: %w", err)
	}
	nodes := make([]string, 0, len(pods.Items))
	for i := range pods.Items {
		nodes = append(nodes, pods.Items[i].Name+"."+pods.Items[i].Namespace)
	}
	return nodes, nil
}

// injectedIndex indexes pods by whether a proxy in them should act.
const injectedIndex = "sluice.injected"

// proxyContainer is the name of the sidecar that the injection policy adds.
const proxyContainer = "sluice-proxy"

// indexInjected is the indexer of injectedIndex.
func indexInjected(o client.Object) []string {
	pod, ok := o.(*corev1.Pod)
	if !ok || !slices.ContainsFunc(pod.Spec.InitContainers, func(c corev1.Container) bool { return c.Name == proxyContainer }) {
		return nil
	}
	if pod.DeletionTimestamp != nil {
		return nil
	}
	for _, condition := range pod.Status.Conditions {
		if condition.Type == corev1.PodReady && condition.Status == corev1.ConditionTrue {
			return []string{"ready"}
		}
	}
	return nil
}

// StripPod is a cache transform: of a pod, keep only what Sluice reads, so that the operator's memory
// does not grow with pod specs.
func StripPod(o any) (any, error) {
	pod, ok := o.(*corev1.Pod)
	if !ok {
		return o, nil
	}
	kept := &corev1.Pod{ObjectMeta: pod.ObjectMeta}
	kept.ManagedFields, kept.Annotations = nil, nil
	for _, c := range pod.Spec.InitContainers {
		if c.Name == proxyContainer {
			kept.Spec.InitContainers = []corev1.Container{{Name: c.Name}}
		}
	}
	kept.Status = corev1.PodStatus{
		Phase: pod.Status.Phase, PodIP: pod.Status.PodIP, Conditions: pod.Status.Conditions,
		InitContainerStatuses: pod.Status.InitContainerStatuses, ContainerStatuses: pod.Status.ContainerStatuses,
	}
	return kept, nil
}

func holderName(rollout *v1alpha1.Rollout) string {
	return "sluice-" + strings.ToLower(rollout.Name) + "-canary"
}
func canaryServiceName(rollout *v1alpha1.Rollout) string {
	return rollout.Spec.Service.Name + "-canary"
}
