package sluice_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	admissionv1 "k8s.io/api/admission/v1"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/utils/ptr"

	"github.com/sluice-mesh/sluice/api/v1alpha1"
)

// subject is one Deployment under test, at zero replicas: what is tested is what the API server stores.
type subject struct {
	*cluster
	namespace, name string
}

func deployment(name string, change func(*appsv1.Deployment)) *appsv1.Deployment {
	d := &appsv1.Deployment{
		TypeMeta:   metav1.TypeMeta{APIVersion: "apps/v1", Kind: "Deployment"},
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{v1alpha1.LabelRollout: "shop"}},
		Spec: appsv1.DeploymentSpec{
			Replicas: ptr.To[int32](0),
			Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": name}},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": name}},
				Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "shop", Image: "shop:v1"}}},
			},
		},
	}
	if change != nil {
		change(d)
	}
	return d
}

func manifest(t *testing.T, d *appsv1.Deployment) string {
	t.Helper()
	b, err := json.Marshal(d)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func image(tag string) func(*appsv1.Deployment) {
	return func(d *appsv1.Deployment) { d.Spec.Template.Spec.Containers[0].Image = "shop:" + tag }
}

func (s *subject) get(t *testing.T) *appsv1.Deployment {
	t.Helper()
	d, err := s.as(t, "", nil).AppsV1().Deployments(s.namespace).Get(t.Context(), s.name, metav1.GetOptions{})
	if err != nil {
		t.Fatalf("get deployment: %v", err)
	}
	return d
}

// update writes as the user, again after a conflict with the Deployment controller.
func (s *subject) update(t *testing.T, user string, change func(*appsv1.Deployment)) {
	t.Helper()
	for {
		d := s.get(t)
		change(d)
		_, err := s.as(t, user, nil).AppsV1().Deployments(s.namespace).Update(t.Context(), d, metav1.UpdateOptions{})
		if apierrors.IsConflict(err) {
			continue
		}
		if err != nil {
			t.Fatalf("update deployment as %s: %v", user, err)
		}
		return
	}
}

func (s *subject) run(t *testing.T, input string, args ...string) string {
	t.Helper()
	out, err := s.kubectl(t, input, append(args, "--namespace", s.namespace)...)
	if err != nil {
		t.Fatalf("kubectl %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

// is checks what is stored: held or paused, and which image.
func (s *subject) is(t *testing.T, state, tag string) {
	t.Helper()
	d := s.get(t)
	_, marked := d.Annotations[v1alpha1.AnnotationHeld]
	got := map[[2]bool]string{
		{true, true}: "held", {true, false}: "paused", {false, false}: "free", {false, true}: "marked but free",
	}[[2]bool{d.Spec.Paused, marked}]
	if got != state {
		t.Errorf("deployment is %s, want %s", got, state)
	}
	if got := d.Spec.Template.Spec.Containers[0].Image; got != "shop:"+tag {
		t.Errorf("image is %s, want shop:%s", got, tag)
	}
}

// settled waits for the Deployment controller and checks the images that have ReplicaSets.
func (s *subject) settled(t *testing.T, images ...string) {
	t.Helper()
	if !s.real {
		return
	}
	eventually(t, "the controller has seen the deployment", func(context.Context) (bool, error) {
		d := s.get(t)
		return d.Status.ObservedGeneration >= d.Generation, nil
	})
	sets, err := s.as(t, "", nil).AppsV1().ReplicaSets(s.namespace).List(t.Context(), metav1.ListOptions{LabelSelector: "app=" + s.name})
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]bool{}
	for _, set := range sets.Items {
		got[set.Spec.Template.Spec.Containers[0].Image] = true
	}
	if len(got) != len(images) {
		t.Errorf("ReplicaSets for %v, want for %v", got, images)
	}
	for _, image := range images {
		if !got["shop:"+image] {
			t.Errorf("ReplicaSets for %v, want for %v", got, images)
		}
	}
}

// awaitHold waits until the API server enforces the hold and, which it may learn later, warns of it.
func (s *subject) awaitHold(t *testing.T) {
	t.Helper()
	eventually(t, "the hold is in force, with its warning", func(ctx context.Context) (bool, error) {
		warned := false
		client := s.as(t, person, func(text string) { warned = warned || strings.Contains(text, "held: ") })
		d, err := s.dryRun(ctx, t, client, image("of-a-dry-run"))
		return err == nil && d.Spec.Paused && warned, nil
	})
}

// dryRun returns what would come of a change.
func (s *subject) dryRun(ctx context.Context, t *testing.T, client kubernetes.Interface, change func(*appsv1.Deployment)) (*appsv1.Deployment, error) {
	t.Helper()
	d := s.get(t)
	change(d)
	return client.AppsV1().Deployments(s.namespace).Update(ctx, d, metav1.UpdateOptions{DryRun: []string{metav1.DryRunAll}})
}

func unpause(d *appsv1.Deployment) {
	d.Spec.Paused = false
	delete(d.Annotations, v1alpha1.AnnotationHeld)
}

func TestHold(t *testing.T) {
	c := withChart(t)
	namespace := c.namespace(t, nil)
	fresh := func(t *testing.T, name string, change func(*appsv1.Deployment)) *subject {
		t.Helper()
		s := &subject{cluster: c, namespace: namespace, name: name}
		s.run(t, manifest(t, deployment(name, change)), "apply", "-f", "-")
		s.is(t, "free", "v1") // a creation is not held
		s.settled(t, "v1")
		return s
	}
	held := func(t *testing.T, name string) *subject {
		t.Helper()
		s := fresh(t, name, nil)
		s.update(t, person, image("v2"))
		s.is(t, "held", "v2")
		return s
	}
	fresh(t, "ready", nil).awaitHold(t)

	t.Run("a new image is held, in one write, with a warning", func(t *testing.T) {
		s := fresh(t, "image", nil)
		out := s.run(t, "", "set", "image", "deployment/image", "shop=shop:v2")
		s.is(t, "held", "v2")
		s.settled(t, "v1")
		if want := "sluice get shop -n " + namespace; !strings.Contains(out, want) {
			t.Errorf("no warning with %q in %s", want, out)
		}
	})
	t.Run("a restart is held", func(t *testing.T) {
		s := fresh(t, "restart", nil)
		s.run(t, "", "rollout", "restart", "deployment/restart")
		s.is(t, "held", "v1")
	})
	t.Run("a resume does not end a hold", func(t *testing.T) {
		s := held(t, "resume")
		out := s.run(t, "", "rollout", "resume", "deployment/resume")
		s.is(t, "held", "v2")
		s.settled(t, "v1")
		if !strings.Contains(out, "held: ") {
			t.Errorf("no warning in %s", out)
		}
	})
	t.Run("a manifest that says paused: false does not end a hold", func(t *testing.T) {
		// The zero value is left out of Go's JSON.
		says := func(tag string) string {
			m := manifest(t, deployment("manifest", image(tag)))
			return strings.Replace(m, `"spec":{`, `"spec":{"paused":false,`, 1)
		}
		s := fresh(t, "manifest", nil)
		for i, tag := range []string{"v2", "v2", "v3"} {
			s.run(t, says(tag), "apply", "-f", "-")
			s.is(t, "held", tag)
			if i == 0 {
				s.run(t, says(tag), "replace", "-f", "-")
				s.is(t, "held", tag)
			}
		}
		s.settled(t, "v1")
	})
	t.Run("server-side apply does not end a hold, and finds no conflict", func(t *testing.T) {
		for _, paused := range []string{``, `"paused":false,`} {
			name := "ssa" + fmt.Sprint(len(paused))
			says := func(tag string) string {
				m := manifest(t, deployment(name, image(tag)))
				return strings.Replace(m, `"spec":{`, `"spec":{`+paused, 1)
			}
			s := &subject{cluster: c, namespace: namespace, name: name}
			for i, tag := range []string{"v1", "v2", "v2", "v3"} {
				s.run(t, says(tag), "apply", "--server-side", "--field-manager=gitops", "-f", "-")
				s.is(t, map[bool]string{true: "free", false: "held"}[i == 0], tag)
			}
			// The operator ends the hold; the next apply of the same manifest changes nothing.
			s.update(t, operatorUser, unpause)
			s.run(t, says("v3"), "apply", "--server-side", "--field-manager=gitops", "-f", "-")
			s.is(t, "free", "v3")
		}
	})
	t.Run("the operator ends a hold", func(t *testing.T) {
		s := held(t, "operator")
		s.update(t, operatorUser, unpause)
		s.is(t, "free", "v2")
		s.settled(t, "v1", "v2")
	})
	t.Run("the operator writes stable back and ends a hold in one write", func(t *testing.T) {
		s := held(t, "revert")
		s.update(t, operatorUser, func(d *appsv1.Deployment) { image("v1")(d); unpause(d) })
		s.is(t, "free", "v1")
		s.settled(t, "v1")
	})
	t.Run("another service account does not end a hold", func(t *testing.T) {
		s := held(t, "other")
		s.update(t, "", unpause) // not even an administrator
		s.is(t, "held", "v2")
	})
	t.Run("the next template is held as well", func(t *testing.T) {
		s := held(t, "next")
		s.update(t, person, func(d *appsv1.Deployment) { image("v3")(d); d.Spec.Paused = false })
		s.is(t, "held", "v3")
	})
	t.Run("the mark survives when annotations are replaced", func(t *testing.T) {
		s := held(t, "mark")
		s.update(t, person, func(d *appsv1.Deployment) { d.Annotations = nil })
		s.is(t, "held", "v2")
		s.update(t, person, func(d *appsv1.Deployment) { d.Annotations = nil; d.Spec.Paused = false })
		s.is(t, "held", "v2")
		_, err := s.as(t, person, nil).AppsV1().Deployments(namespace).Patch(t.Context(), "mark", types.JSONPatchType,
			[]byte(`[{"op":"replace","path":"/metadata/annotations","value":{"a":"b"}},{"op":"replace","path":"/spec/paused","value":false}]`), metav1.PatchOptions{})
		if err != nil {
			t.Fatal(err)
		}
		s.is(t, "held", "v2")
	})
	t.Run("kubectl rollout undo is held", func(t *testing.T) {
		if !c.real {
			t.Skip("needs the Deployment controller")
		}
		s := held(t, "undo")
		s.update(t, operatorUser, unpause)
		s.settled(t, "v1", "v2")
		s.run(t, "", "rollout", "undo", "deployment/undo")
		s.is(t, "held", "v1")
		s.settled(t, "v1", "v2")
	})
	t.Run("a person's own pause is left alone until it ends", func(t *testing.T) {
		s := fresh(t, "own", nil)
		s.run(t, "", "rollout", "pause", "deployment/own")
		s.is(t, "paused", "v1")
		s.run(t, "", "set", "image", "deployment/own", "shop=shop:v2")
		s.is(t, "paused", "v2")
		s.run(t, "", "rollout", "resume", "deployment/own")
		s.is(t, "held", "v2")
		s.settled(t, "v1")
	})
	t.Run("scaling is not held and does not end a hold", func(t *testing.T) {
		s := fresh(t, "scale", nil)
		s.run(t, "", "scale", "deployment/scale", "--replicas=1")
		s.is(t, "free", "v1")
		s.update(t, person, func(d *appsv1.Deployment) { d.Spec.Replicas = ptr.To[int32](0) })
		s.is(t, "free", "v1")
		s.update(t, person, image("v2"))
		s.run(t, "", "scale", "deployment/scale", "--replicas=1")
		s.is(t, "held", "v2")
		if got := *s.get(t).Spec.Replicas; got != 1 {
			t.Errorf("replicas: %d, want 1", got)
		}
		s.settled(t, "v1")
	})
	t.Run("what is not the template is not held", func(t *testing.T) {
		s := fresh(t, "labels", nil)
		s.update(t, person, func(d *appsv1.Deployment) {
			d.Labels["a"], d.Annotations["c"] = "b", "d"
			d.Spec.MinReadySeconds = 3
		})
		s.is(t, "free", "v1")
	})
	t.Run("the label taken off in the same write keeps the hold, and afterwards it can be ended", func(t *testing.T) {
		s := held(t, "leave")
		s.update(t, person, func(d *appsv1.Deployment) { delete(d.Labels, v1alpha1.LabelRollout); unpause(d) })
		s.is(t, "held", "v2")
		s.update(t, person, unpause)
		s.is(t, "free", "v2")
	})
	t.Run("the label put on in the same write holds", func(t *testing.T) {
		s := fresh(t, "enter", func(d *appsv1.Deployment) { d.Labels = nil })
		s.update(t, person, image("v2"))
		s.is(t, "free", "v2")
		s.update(t, person, func(d *appsv1.Deployment) {
			d.Labels = map[string]string{v1alpha1.LabelRollout: "shop"}
			image("v3")(d)
		})
		s.is(t, "held", "v3")
	})
	t.Run("a template that only a webhook changes is held", func(t *testing.T) {
		s := fresh(t, "webhook", nil)
		rewrite(t, s, "shop:v9")
		s.update(t, person, func(d *appsv1.Deployment) { d.Labels["a"] = "b" })
		s.is(t, "held", "v9")
		s.settled(t, "v1")
	})
}

// rewrite sets up a webhook in the test's own process that sets the subject's image on each update, and
// waits until the API server calls it.
func rewrite(t *testing.T, s *subject, image string) {
	t.Helper()
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var review admissionv1.AdmissionReview
		body, err := io.ReadAll(io.LimitReader(r.Body, 4<<20))
		if err != nil || json.Unmarshal(body, &review) != nil {
			http.Error(w, "no review", http.StatusBadRequest)
			return
		}
		patch := fmt.Sprintf(`[{"op":"replace","path":"/spec/template/spec/containers/0/image","value":%q}]`, image)
		review.Response = &admissionv1.AdmissionResponse{
			UID: review.Request.UID, Allowed: true,
			PatchType: ptr.To(admissionv1.PatchTypeJSONPatch), Patch: []byte(patch),
		}
		review.Request = nil
		_ = json.NewEncoder(w).Encode(review)
	}))
	authority, url := serve(t, server, s.config.Host)
	webhooks := s.as(t, "", nil).AdmissionregistrationV1().MutatingWebhookConfigurations()
	name := "test-" + s.namespace
	_, err := webhooks.Create(t.Context(), &admissionregistrationv1.MutatingWebhookConfiguration{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Webhooks: []admissionregistrationv1.MutatingWebhook{{
			Name:                    "rewrite.test.sluice.dev",
			AdmissionReviewVersions: []string{"v1"},
			SideEffects:             ptr.To(admissionregistrationv1.SideEffectClassNone),
			ClientConfig:            admissionregistrationv1.WebhookClientConfig{URL: &url, CABundle: authority},
			NamespaceSelector:       &metav1.LabelSelector{MatchLabels: map[string]string{corev1.LabelMetadataName: s.namespace}},
			MatchConditions: []admissionregistrationv1.MatchCondition{{
				Name: "subject", Expression: fmt.Sprintf("object.metadata.name == %q", s.name),
			}},
			Rules: []admissionregistrationv1.RuleWithOperations{{
				Operations: []admissionregistrationv1.OperationType{admissionregistrationv1.Update},
				Rule:       admissionregistrationv1.Rule{APIGroups: []string{"apps"}, APIVersions: []string{"v1"}, Resources: []string{"deployments"}},
			}},
		}},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatalf("create webhook: %v", err)
	}
	t.Cleanup(func() {
		_ = webhooks.Delete(context.WithoutCancel(t.Context()), name, metav1.DeleteOptions{})
	})
	eventually(t, "the webhook is called", func(ctx context.Context) (bool, error) {
		d, err := s.dryRun(ctx, t, s.as(t, operatorUser, nil), func(*appsv1.Deployment) {})
		return err == nil && d.Spec.Template.Spec.Containers[0].Image == image, nil
	})
}

// serve starts the server where the API server can reach it: at the address from which this machine
// reaches the API server, with a certificate of its own for that address.
func serve(t *testing.T, server *httptest.Server, apiServer string) (authority []byte, address string) {
	t.Helper()
	target, err := url.Parse(apiServer)
	if err != nil {
		t.Fatalf("parse API server's address: %v", err)
	}
	probe, err := net.Dial("tcp", target.Host)
	if err != nil {
		t.Fatalf("reach API server: %v", err)
	}
	defer probe.Close()
	ip := probe.LocalAddr().(*net.TCPAddr).IP

	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		IPAddresses: []net.IP{ip},
	}
	certificate, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	if err := server.Listener.Close(); err != nil {
		t.Fatal(err)
	}
	if server.Listener, err = net.Listen("tcp", net.JoinHostPort(ip.String(), "0")); err != nil {
		t.Fatalf("listen for the API server: %v", err)
	}
	server.TLS = &tls.Config{
		MinVersion:   tls.VersionTLS12,
		Certificates: []tls.Certificate{{Certificate: [][]byte{certificate}, PrivateKey: key}},
	}
	server.StartTLS()
	t.Cleanup(server.Close)
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate}), server.URL
}

func TestUnreleasableWorkload(t *testing.T) {
	c := withChart(t)
	namespace := c.namespace(t, nil)
	client := c.as(t, person, nil).AppsV1().Deployments(namespace)
	cases := map[string]struct {
		change func(*appsv1.Deployment)
		want   string
	}{
		"strategy Recreate": {
			func(d *appsv1.Deployment) { d.Spec.Strategy.Type = appsv1.RecreateDeploymentStrategyType },
			"spec.strategy.type: Sluice cannot release a Deployment with the strategy Recreate",
		},
		"no history": {
			func(d *appsv1.Deployment) { d.Spec.RevisionHistoryLimit = ptr.To[int32](0) },
			"spec.revisionHistoryLimit: Sluice cannot release a Deployment with 0",
		},
	}
	for name, test := range cases {
		t.Run(name, func(t *testing.T) {
			var err error
			eventually(t, "its creation with the label is refused", func(ctx context.Context) (bool, error) {
				_, err = client.Create(ctx, deployment("refused", test.change), metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
				return err != nil, nil
			})
			if !strings.Contains(err.Error(), test.want) {
				t.Errorf("refused with %q, want %q", err, test.want)
			}
			plain := deployment("", test.change)
			plain.GenerateName, plain.Labels = "plain-", nil
			d, err := client.Create(t.Context(), plain, metav1.CreateOptions{})
			if err != nil {
				t.Fatalf("create without the label: %v", err)
			}
			_, err = client.Patch(t.Context(), d.Name, types.MergePatchType,
				[]byte(`{"metadata":{"labels":{"sluice.dev/rollout":"shop"}}}`), metav1.PatchOptions{})
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("put the label on: %v, want %q", err, test.want)
			}
		})
	}
}
