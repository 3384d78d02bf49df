package cli

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"os/user"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/spf13/cobra"

	"github.com/sluice-mesh/sluice/api/v1alpha1"
)

func newScheme() (*runtime.Scheme, error) {
	scheme := runtime.NewScheme()
	if err := errors.Join(v1alpha1.AddToScheme(scheme), appsv1.AddToScheme(scheme)); err != nil {
		return nil, fmt.Errorf("build scheme: %w", err)
	}
	return scheme, nil
}

func (env *environment) connectByFlags() (client.WithWatch, string, error) {
	config, err := env.config()
	if err != nil {
		return nil, "", err
	}
	namespace, _, err := env.flags.ToRawKubeConfigLoader().Namespace()
	if err != nil {
		return nil, "", fmt.Errorf("find the namespace: %w", err)
	}
	scheme, err := newScheme()
	if err != nil {
		return nil, "", err
	}
	c, err := client.NewWithWatch(config, client.Options{Scheme: scheme})
	if err != nil {
		return nil, "", fmt.Errorf("connect to the cluster: %w", err)
	}
	return c, namespace, nil
}

// whoami is the person as the API server knows them, or else as this machine does.
func whoami(ctx context.Context, clients kubernetes.Interface) string {
	review, err := clients.AuthenticationV1().SelfSubjectReviews().Create(ctx, &authenticationv1.SelfSubjectReview{}, metav1.CreateOptions{})
	if err == nil && review.Status.UserInfo.Username != "" {
		return review.Status.UserInfo.Username
	}
	if local, err := user.Current(); err == nil {
		return local.Username
	}
	return ""
}

func randomID() string { return strings.ToLower(rand.Text()[:16]) }

// find gets one Rollout. Its errors say what to do next.
func find(ctx context.Context, c client.Client, namespace, name string) (*v1alpha1.Rollout, error) {
	rollout := &v1alpha1.Rollout{}
	err := c.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, rollout)
	if apierrors.IsNotFound(err) && !noSuchKind(err) {
		return nil, missing(ctx, c, namespace, name)
	}
	if err != nil {
		return nil, advise(err, fmt.Sprintf("get rollout %s", name))
	}
	return rollout, nil
}

// missing says which Rollouts there are, when one is not.
func missing(ctx context.Context, c client.Client, namespace, name string) error {
	message := fmt.Sprintf("there is no Rollout %s in namespace %s", name, namespace)
	var rollouts v1alpha1.RolloutList
	if err := c.List(ctx, &rollouts, client.InNamespace(namespace)); err != nil {
		return errors.New(message)
	}
	var names []string
	for _, rollout := range rollouts.Items {
		names = append(names, rollout.Name)
	}
	if len(names) == 0 {
		return errors.New(message + ", nor any other; name another namespace with -n, or list all with: sluice get -A")
	}
	slices.Sort(names)
	return fmt.Errorf("%s; there are: %s", message, strings.Join(names, ", "))
}

// noSuchKind: the API server does not know Rollouts.
func noSuchKind(err error) bool {
	if meta.IsNoMatchError(err) {
		return true
	}
	var status apierrors.APIStatus
	// The path itself is not found, rather than an object.
	return errors.As(err, &status) && apierrors.IsNotFound(err) && (status.Status().Details == nil || status.Status().Details.Name == "")
}

// advise adds to an error what a person can do about it.
func advise(err error, doing string) error {
	switch {
	case noSuchKind(err):
		return errors.New("this cluster has no Rollouts; install Sluice with: helm install sluice charts/sluice --namespace sluice-system --create-namespace")
	case apierrors.IsForbidden(err):
		return fmt.Errorf("%s: %w; ask for the role view to look, or edit to give orders, in this namespace", doing, err)
	}
	var refused *net.OpError
	if errors.As(err, &refused) && refused.Op == "dial" {
		return fmt.Errorf("%s: %w; nothing answers there: choose the cluster with --kubeconfig, --context or the variable KUBECONFIG", doing, err)
	}
	return fmt.Errorf("%s: %w", doing, err)
}

// oneName asks for the name of one Rollout.
func oneName(cmd *cobra.Command, args []string) error {
	if len(args) != 1 {
		return fmt.Errorf("name one Rollout, as in: %s shop; you named %d (sluice get lists them)", cmd.CommandPath(), len(args))
	}
	return nil
}

// completeNames completes the name of a Rollout, for shells.
func completeNames(env *environment) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		c, namespace, err := env.connect()
		if err != nil {
			return nil, cobra.ShellCompDirectiveError
		}
		var rollouts v1alpha1.RolloutList
		if err := c.List(cmd.Context(), &rollouts, client.InNamespace(namespace)); err != nil {
			return nil, cobra.ShellCompDirectiveError
		}
		var names []cobra.Completion
		for _, rollout := range rollouts.Items {
			names = append(names, rollout.Name)
		}
		return names, cobra.ShellCompDirectiveNoFileComp
	}
}
