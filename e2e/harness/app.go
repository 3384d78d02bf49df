package harness

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/util/retry"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-mesh/sluice/api/v1alpha1"
)

// Names in the shop's pods.
const (
	// LabelApp is on every pod: the application's name.
	LabelApp = "app.kubernetes.io/name"
	// shopContainer and loadContainer are the containers' names.
	shopContainer = "shop"
	loadContainer = "load"
	shopPort      = 8080
	statsPort     = 8090
	// ServicePort is the port of every shop Service; GRPCPort and TCPPort are those of App.Protocols.
	ServicePort = 80
	GRPCPort    = 9090
	TCPPort     = 7070
)

// Version is one version of a shop service: an image and how it behaves.
type Version struct {
	// Name is the image's tag and what clients are told.
	Name string
	// ErrorRate is the share of requests answered with 500.
	ErrorRate float64
	// Latency and Jitter are added to every answer.
	Latency, Jitter time.Duration
	// StartDelay is how long a pod takes to become ready.
	StartDelay time.Duration
	// BrokenImage makes its pods never start.
	BrokenImage bool
	// Build tells templates of the same version apart; it changes nothing else.
	Build int
}

func (v Version) image() string {
	if v.BrokenImage {
		return "sluice.dev/shop:does-not-exist"
	}
	return "sluice.dev/shop:" + v.Name
}

// env has every variable that makes up the behaviour, so that a new version leaves nothing of the old.
func (v Version) env() []corev1.EnvVar {
	return []corev1.EnvVar{
		{Name: "SHOP_VERSION", Value: v.Name},
		{Name: "SHOP_ERROR_RATE", Value: strconv.FormatFloat(v.ErrorRate, 'g', -1, 64)},
		{Name: "SHOP_LATENCY", Value: v.Latency.String()},
		{Name: "SHOP_LATENCY_JITTER", Value: v.Jitter.String()},
		{Name: "SHOP_START_DELAY", Value: v.StartDelay.String()},
		{Name: "BUILD", Value: strconv.Itoa(v.Build)},
	}
}

// App is one service of the shop.
type App struct {
	Name     string
	Version  Version
	Replicas int32
	// Upstreams are the names of the services that it asks.
	Upstreams []string
	// Rollout is the name of its Rollout; empty: it has none.
	Rollout string
	// Protocols lets it speak gRPC, and lines over TCP, besides HTTP and WebSocket.
	Protocols bool
	// Collector lets it collect traces: see Spans.
	Collector bool
}

func (a App) labels() map[string]string { return map[string]string{LabelApp: a.Name} }

// Deployment of the service.
func (a App) Deployment() *appsv1.Deployment {
	var upstreams []string
	for _, name := range a.Upstreams {
		upstreams = append(upstreams, fmt.Sprintf("%s=http://%s:%d/", name, name, ServicePort))
	}
	env := append([]corev1.EnvVar{{Name: "SHOP_NAME", Value: a.Name}, {Name: "SHOP_UPSTREAM", Value: strings.Join(upstreams, ",")}}, a.Version.env()...)
	d := &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: a.Name, Labels: a.labels()},
		Spec: appsv1.DeploymentSpec{
			Replicas: ptr.To(a.Replicas),
			Selector: &metav1.LabelSelector{MatchLabels: a.labels()},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: a.labels()},
				Spec: corev1.PodSpec{
					TerminationGracePeriodSeconds: ptr.To[int64](30),
					Containers: []corev1.Container{{
						Name: shopContainer, Image: a.Version.image(), ImagePullPolicy: corev1.PullIfNotPresent, Env: env,
						Ports:          []corev1.ContainerPort{{Name: "http", ContainerPort: shopPort}},
						ReadinessProbe: probe(shopPort),
						Resources:      small(),
					}},
				},
			},
		},
	}
	if a.Protocols {
		shop := &d.Spec.Template.Spec.Containers[0]
		shop.Ports = append(shop.Ports, corev1.ContainerPort{Name: "grpc", ContainerPort: GRPCPort}, corev1.ContainerPort{Name: "lines", ContainerPort: TCPPort})
		shop.Args = []string{fmt.Sprintf("--grpc-listen=:%d", GRPCPort), fmt.Sprintf("--tcp-listen=:%d", TCPPort)}
	}
	if a.Collector {
		shop := &d.Spec.Template.Spec.Containers[0]
		shop.Args = append(shop.Args, "--collector")
	}
	if a.Rollout != "" {
		d.Labels[v1alpha1.LabelRollout] = a.Rollout
	}
	return d
}

// Service of the service.
func (a App) Service() *corev1.Service {
	s := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: a.Name, Labels: a.labels()},
		Spec: corev1.ServiceSpec{
			Selector: a.labels(),
			Ports: []corev1.ServicePort{{
				Name: "http", Port: ServicePort, TargetPort: intstr.FromString("http"), AppProtocol: ptr.To("http"),
			}},
		},
	}
	if a.Protocols {
		s.Spec.Ports = append(s.Spec.Ports,
			corev1.ServicePort{Name: "grpc", Port: GRPCPort, TargetPort: intstr.FromString("grpc")},
			corev1.ServicePort{Name: "lines", Port: TCPPort, TargetPort: intstr.FromString("lines")}) // nothing declared
	}
	return s
}

func probe(port int32) *corev1.Probe {
	return &corev1.Probe{
		ProbeHandler:  corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: "/healthz", Port: intstr.FromInt32(port)}},
		PeriodSeconds: 1, FailureThreshold: 3, TimeoutSeconds: 5,
	}
}

// small requests let many pods fit on a node of two cores.
func small() corev1.ResourceRequirements {
	return corev1.ResourceRequirements{Requests: corev1.ResourceList{
		corev1.ResourceCPU: resource.MustParse("5m"), corev1.ResourceMemory: resource.MustParse("16Mi"),
	}}
}

// Deploy creates the service's Deployment and Service.
func (s *Space) Deploy(ctx context.Context, apps ...App) error {
	for _, a := range apps {
		if err := s.Create(ctx, a.Service()); err != nil {
			return err
		}
		if err := s.Create(ctx, a.Deployment()); err != nil {
			return err
		}
	}
	return nil
}

// Release changes the Deployment's template to the version, in one write, as a person or a pipeline
// would: image and environment.
func (s *Space) Release(ctx context.Context, deployment string, v Version) error {
	patch := map[string]any{"spec": map[string]any{"template": map[string]any{"spec": map[string]any{
		"containers": []any{map[string]any{"name": shopContainer, "image": v.image(), "env": v.env()}},
	}}}}
	body, err := json.Marshal(patch)
	if err != nil {
		return fmt.Errorf("marshal patch: %w", err)
	}
	d := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: s.Name, Name: deployment}}
	if err := s.Client.Patch(ctx, d, client.RawPatch(types.StrategicMergePatchType, body)); err != nil {
		return fmt.Errorf("release %s: %w", v.Name, err)
	}
	return nil
}

// Scale sets the Deployment's replicas through its scale subresource, as an autoscaler does, and like one
// again when somebody else wrote in between.
func (s *Space) Scale(ctx context.Context, deployment string, replicas int32) error {
	api := s.Kube.AppsV1().Deployments(s.Name)
	err := retry.RetryOnConflict(retry.DefaultBackoff, func() error {
		scale, err := api.GetScale(ctx, deployment, metav1.GetOptions{})
		if err != nil {
			return err
		}
		scale.Spec.Replicas = replicas
		_, err = api.UpdateScale(ctx, deployment, scale, metav1.UpdateOptions{})
		return err
	})
	if err != nil {
		return fmt.Errorf("scale %s: %w", deployment, err)
	}
	return nil
}

// AwaitAvailable waits until each Deployment has all its replicas available, in its present template.
func (s *Space) AwaitAvailable(ctx context.Context, names ...string) error {
	deployments, err := Follow[*appsv1.Deployment](ctx, s.Client, &appsv1.DeploymentList{}, client.InNamespace(s.Name))
	if err != nil {
		return err
	}
	defer deployments.Stop()
	return deployments.Await(ctx, fmt.Sprintf("deployments %s to be available", strings.Join(names, ", ")), func(all []*appsv1.Deployment) bool {
		available := map[string]bool{}
		for _, d := range all {
			want := ptr.Deref(d.Spec.Replicas, 1)
			available[d.Name] = d.Status.ObservedGeneration >= d.Generation &&
				d.Status.UpdatedReplicas == want && d.Status.AvailableReplicas == want && d.Status.Replicas == want
		}
		for _, name := range names {
			if !available[name] {
				return false
			}
		}
		return true
	})
}

// AwaitListed waits until the Service lists so many ready pods, which it does a moment after they are.
func (s *Space) AwaitListed(ctx context.Context, service string, pods int) error {
	lists, err := Follow[*discoveryv1.EndpointSlice](ctx, s.Client, &discoveryv1.EndpointSliceList{},
		client.InNamespace(s.Name), client.MatchingLabels{discoveryv1.LabelServiceName: service})
	if err != nil {
		return err
	}
	defer lists.Stop()
	return lists.Await(ctx, fmt.Sprintf("service %s to list %d pods", service, pods), func(all []*discoveryv1.EndpointSlice) bool {
		ready := 0
		for _, slice := range all {
			for _, endpoint := range slice.Endpoints {
				if ptr.Deref(endpoint.Conditions.Ready, true) {
					ready++
				}
			}
		}
		return ready == pods
	})
}
