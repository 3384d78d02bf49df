package cli

import (
	"context"
	"errors"
	"net"
	"net/url"
	"strings"
	"testing"

	authenticationv1 "k8s.io/api/authentication/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/google/go-cmp/cmp"

	"k8s.io/utils/ptr"

	"github.com/sluice-mesh/sluice/api/v1alpha1"
)

// answer acts on a pending order as an operator would.
func answer(accepted bool, message string) func(*v1alpha1.Rollout) bool {
	return func(r *v1alpha1.Rollout) bool {
		command := pending(r)
		if command == nil {
			return false
		}
		r.Status.LastCommand = &v1alpha1.CommandStatus{ID: command.ID, Verb: command.Verb, By: command.By, Accepted: accepted, Message: message, At: before(0)}
		return true
	}
}

func (w *world) command(t *testing.T) *v1alpha1.Command {
	t.Helper()
	var r v1alpha1.Rollout
	if err := w.Get(t.Context(), client.ObjectKey{Namespace: w.namespace, Name: "shop"}, &r); err != nil {
		t.Fatal(err)
	}
	value := r.Annotations[v1alpha1.AnnotationCommand]
	if value == "" {
		return nil
	}
	command, err := v1alpha1.ParseCommand(value)
	if err != nil {
		t.Fatal(err)
	}
	return command
}

func TestOrder(t *testing.T) {
	cases := map[v1alpha1.Verb]*int32{
		v1alpha1.VerbPromote: nil, v1alpha1.VerbAbort: nil, v1alpha1.VerbRetry: nil, v1alpha1.VerbPause: nil,
		v1alpha1.VerbApprove: ptr.To[int32](2), v1alpha1.VerbReject: ptr.To[int32](2), v1alpha1.VerbResume: ptr.To[int32](2),
	}
	for verb, step := range cases {
		t.Run(string(verb), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.add(t, progressing)
			w.operate(t, answer(true, "done as jane says"))
			code, out, problems := w.run(t, string(verb), "shop")
			if code != ExitDone || out != "done as jane says\n" || problems != "" {
				t.Errorf("exit %d, %q, %q", code, out, problems)
			}
			want := &v1alpha1.Command{ID: "order-1", Verb: verb, Release: "bcdfghjklm-3", Step: step, By: "jane"}
			if diff := cmp.Diff(want, w.command(t)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestOrderRefused(t *testing.T) {
	w := newWorld(t)
	w.add(t, nil)
	w.operate(t, answer(false, "promote refused: no release is on"))
	code, out, problems := w.run(t, "promote", "shop")
	if code != ExitError || out != "" || problems != "error: promote refused: no release is on\n" {
		t.Errorf("exit %d, %q, %q", code, out, problems)
	}
}

func TestOrderNobodyActsOn(t *testing.T) {
	w := newWorld(t)
	w.add(t, progressing)
	code, _, problems := w.run(t, "pause", "shop", "--timeout", "100ms")
	if code != ExitError || !strings.Contains(problems, "is the operator running?") {
		t.Errorf("exit %d, %q", code, problems)
	}

	t.Run("is not replaced by another", func(t *testing.T) {
		code, _, problems := w.run(t, "resume", "shop")
		if code != ExitError || !strings.Contains(problems, "an earlier order has not been acted on yet: pause by jane") {
			t.Errorf("exit %d, %q", code, problems)
		}
		if got := w.command(t).Verb; got != v1alpha1.VerbPause {
			t.Errorf("the order is %s", got)
		}
	})
	t.Run("is replaced by an abort", func(t *testing.T) {
		code, out, problems := w.run(t, "abort", "shop", "--wait=false")
		if code != ExitDone || out != "abort ordered\n" {
			t.Errorf("exit %d, %q, %q", code, out, problems)
		}
		if got := w.command(t).Verb; got != v1alpha1.VerbAbort {
			t.Errorf("the order is %s", got)
		}
	})
}

func TestOrderReplacedWhileItWaits(t *testing.T) {
	w := newWorld(t)
	w.add(t, progressing)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	replaced := make(chan error, 1)
	go func() {
		replaced <- follow(ctx, w, w.namespace, "shop", func(r *v1alpha1.Rollout) (bool, error) {
			if pending(r) == nil {
				return false, nil
			}
			env, _, _ := w.environment()
			env.id = func() string { return "order-2" }
			env.user = func(context.Context) string { return "bob" }
			return true, env.order(ctx, w, client.ObjectKeyFromObject(r), v1alpha1.VerbAbort, waiting{})
		})
	}()
	code, _, problems := w.run(t, "approve", "shop")
	if err := <-replaced; err != nil {
		t.Error(err)
	}
	if code != ExitError || !strings.Contains(problems, "the order was replaced before the operator had acted on it: abort by bob") {
		t.Errorf("exit %d, %q", code, problems)
	}
}

func TestNoSuchRollout(t *testing.T) {
	w := newWorld(t)
	for _, args := range [][]string{{"get", "till"}, {"status", "till"}, {"abort", "till"}, {"undo", "till"}} {
		code, _, problems := w.run(t, args...)
		if code != ExitError || !strings.Contains(problems, "there is no Rollout till in namespace "+w.namespace+", nor any other") {
			t.Errorf("%v: exit %d, %q", args, code, problems)
		}
	}
	w.add(t, nil)
	if _, _, problems := w.run(t, "get", "till"); !strings.Contains(problems, "there are: shop\n") {
		t.Errorf("%q", problems)
	}
}

func TestOneName(t *testing.T) {
	w := newWorld(t)
	for _, args := range [][]string{{"promote"}, {"abort", "shop", "till"}, {"status"}, {"undo"}} {
		code, _, problems := w.run(t, args...)
		if want := "name one Rollout, as in: sluice " + args[0] + " shop"; code != ExitError || !strings.Contains(problems, want) {
			t.Errorf("%v: exit %d, %q", args, code, problems)
		}
	}
}

func TestAdvice(t *testing.T) {
	rollouts := schema.GroupResource{Group: "sluice.dev", Resource: "rollouts"}
	for name, test := range map[string]struct {
		err  error
		want string
	}{
		"CRD missing":       {&apierrors.StatusError{ErrStatus: apierrors.NewNotFound(schema.GroupResource{}, "").Status()}, "helm install sluice"},
		"CRD not mapped":    {&meta.NoKindMatchError{GroupKind: schema.GroupKind{Group: "sluice.dev", Kind: "Rollout"}}, "helm install sluice"},
		"forbidden":         {apierrors.NewForbidden(rollouts, "shop", nil), "ask for the role view"},
		"nobody answers":    {&url.Error{Op: "Get", URL: "http://localhost:8080", Err: &net.OpError{Op: "dial", Err: errors.New("refused")}}, "choose the cluster with --kubeconfig"},
		"an object is gone": {apierrors.NewNotFound(rollouts, "shop"), `get x: rollouts.sluice.dev "shop" not found`},
	} {
		if got := advise(test.err, "get x").Error(); !strings.Contains(got, test.want) {
			t.Errorf("%s: %q, want %q", name, got, test.want)
		}
	}
}

func TestWhoami(t *testing.T) {
	clients := fake.NewClientset()
	clients.PrependReactor("create", "selfsubjectreviews", func(clienttesting.Action) (bool, runtime.Object, error) {
		return true, &authenticationv1.SelfSubjectReview{Status: authenticationv1.SelfSubjectReviewStatus{
			UserInfo: authenticationv1.UserInfo{Username: "jane@example"},
		}}, nil
	})
	if got := whoami(t.Context(), clients); got != "jane@example" {
		t.Errorf("got %q", got)
	}
	clients.PrependReactor("create", "selfsubjectreviews", func(clienttesting.Action) (bool, runtime.Object, error) {
		return true, nil, apierrors.NewForbidden(schema.GroupResource{}, "", nil)
	})
	if got := whoami(t.Context(), clients); got == "jane@example" || got == "" {
		t.Errorf("got %q, want this machine's user", got)
	}
}
