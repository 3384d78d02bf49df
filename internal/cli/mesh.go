package cli

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-mesh/sluice/api/v1alpha1"
	"github.com/sluice-mesh/sluice/internal/meshstatus"
)

const (
	defaultInstallation = "sluice-system"
	operatorPods        = "app.kubernetes.io/name=sluice,app.kubernetes.io/component=operator"
	peersPort           = "15011"
	// replicaTimeout is how long one replica may take to answer.
	replicaTimeout = 10 * time.Second
)

// replica is what one replica of the operator answered, or why it did not.
type replica struct {
	Replica string             `json:"replica"`
	Error   string             `json:"error,omitempty"`
	Status  *meshstatus.Status `json:"status,omitempty"`
}

func newMesh(env *environment) *cobra.Command {
	cmd := &cobra.Command{
		Use: "mesh", Short: "Look into the mesh", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	var output, installation string
	status := &cobra.Command{
		Use:   "status",
		Short: "Show which proxies have which weights in force",
		Long: "Show which proxies have which weights in force, as the operator's replicas know it.\n\n" +
			"It asks every replica through the API server, for which you need to list pods and get pods/proxy in\n" +
			"the installation's namespace. --namespace restricts it to services of one namespace.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if !slices.Contains([]string{"", "wide", "json", "yaml"}, output) {
				return fmt.Errorf("--output %s: it is one of wide, json, yaml", output)
			}
			config, err := env.config()
			if err != nil {
				return err
			}
			clients, err := kubernetes.NewForConfig(config)
			if err != nil {
				return fmt.Errorf("connect to the cluster: %w", err)
			}
			replicas, err := askReplicas(cmd.Context(), clients, installation)
			if err != nil {
				return err
			}
			only := ""
			if env.flags.Namespace != nil {
				only = *env.flags.Namespace
			}
			restrict(replicas, only)
			name(replicas, env.owners(cmd.Context(), only))
			if output == "json" || output == "yaml" {
				err = write(env.Out, replicas, output)
			} else {
				err = meshTable(env.Out, replicas, env.now(), output == "wide", env.style)
			}
			return errors.Join(err, silent(env.ErrOut, replicas))
		},
	}
	status.Flags().StringVarP(&output, "output", "o", "", "wide (each proxy), json or yaml")
	status.Flags().StringVar(&installation, "sluice-namespace", defaultInstallation, "namespace of the installation")
	cmd.AddCommand(status)
	return cmd
}

// askReplicas asks every replica that runs, by way of the API server.
func askReplicas(ctx context.Context, clients kubernetes.Interface, namespace string) ([]replica, error) {
	pods, err := clients.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{LabelSelector: operatorPods})
	if err != nil {
		return nil, advise(err, "list the operator's pods in "+namespace)
	}
	var replicas []replica
	for _, pod := range pods.Items {
		if pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed {
			continue
		}
		answer := replica{Replica: pod.Name}
		if answer.Status, err = askReplica(ctx, clients, namespace, pod.Name); err != nil {
			answer.Error = err.Error()
		}
		replicas = append(replicas, answer)
	}
	if len(replicas) == 0 {
		return nil, fmt.Errorf("there is no operator in namespace %s; name the installation's with --sluice-namespace", namespace)
	}
	slices.SortFunc(replicas, func(a, b replica) int { return strings.Compare(a.Replica, b.Replica) })
	return replicas, nil
}

func askReplica(ctx context.Context, clients kubernetes.Interface, namespace, pod string) (*meshstatus.Status, error) {
	ctx, cancel := context.WithTimeout(ctx, replicaTimeout)
	defer cancel()
	body, err := clients.CoreV1().Pods(namespace).ProxyGet("http", pod, peersPort, meshstatus.Path, nil).DoRaw(ctx)
	if err != nil {
		return nil, fmt.Errorf("ask %s: %w", pod, err)
	}
	return meshstatus.Read(bytes.NewReader(body))
}

func restrict(replicas []replica, namespace string) {
	if namespace == "" {
		return
	}
	for _, r := range replicas {
		if r.Status != nil {
			r.Status.Services = slices.DeleteFunc(r.Status.Services, func(s meshstatus.Service) bool { return s.Namespace != namespace })
		}
	}
}

// owners maps the UID by which the mesh knows a Rollout to its name. A person who may not list Rollouts
// sees UIDs.
func (env *environment) owners(ctx context.Context, namespace string) map[string]string {
	names := map[string]string{}
	c, _, err := env.connect()
	if err != nil {
		return names
	}
	var rollouts v1alpha1.RolloutList
	if err := c.List(ctx, &rollouts, client.InNamespace(namespace)); err != nil {
		return names
	}
	for _, rollout := range rollouts.Items {
		names[string(rollout.UID)] = rollout.Name
	}
	return names
}

func name(replicas []replica, owners map[string]string) {
	for _, r := range replicas {
		if r.Status == nil {
			continue
		}
		for i, s := range r.Status.Services {
			if owner := owners[s.Owner]; owner != "" {
				r.Status.Services[i].Owner = owner
			}
		}
	}
}

// silent is an error when a replica did not answer: what is shown is then not the whole.
func silent(w io.Writer, replicas []replica) error {
	var failed error
	for _, r := range replicas {
		if r.Error != "" {
			fmt.Fprintln(w, "warning:", r.Error)
			failed = exit(ExitError)
		}
	}
	return failed
}

// published is one service over all replicas.
type published struct {
	meshstatus.Service
	replicas int
	// differ: the replicas publish different decisions at this moment.
	differ bool
}

// merge puts the replicas' answers together: proxies of all, and of the decisions the newest.
func merge(replicas []replica) []published {
	byKey := map[string]*published{}
	for _, r := range replicas {
		if r.Status == nil {
			continue
		}
		for _, s := range r.Status.Services {
			key := serviceName(s)
			have := byKey[key]
			if have == nil {
				s.Proxies = slices.Clone(s.Proxies)
				byKey[key] = &published{Service: s, replicas: 1}
				continue
			}
			have.replicas++
			have.differ = have.differ || have.Epoch != s.Epoch || have.Weight != s.Weight
			proxies := slices.Concat(have.Proxies, s.Proxies)
			if s.Epoch > have.Epoch {
				have.Service = s
			}
			have.Proxies = proxies
		}
	}
	var all []published
	for _, s := range byKey {
		s.Proxies = once(s.Proxies)
		all = append(all, *s)
	}
	slices.SortFunc(all, func(a, b published) int { return strings.Compare(serviceName(a.Service), serviceName(b.Service)) })
	return all
}

// once orders proxies by node and keeps one word of each: the leader repeats what the others tell it. Where
// they differ, the one that has less in force counts.
func once(proxies []meshstatus.Proxy) []meshstatus.Proxy {
	slices.SortFunc(proxies, func(a, b meshstatus.Proxy) int {
		return cmp.Or(strings.Compare(a.Node, b.Node), cmp.Compare(inForce(a), inForce(b)))
	})
	return slices.CompactFunc(proxies, func(a, b meshstatus.Proxy) bool { return a.Node == b.Node })
}

func inForce(p meshstatus.Proxy) int {
	switch {
	case p.Rejected != "":
		return 0
	case !p.Acknowledged:
		return 1
	}
	return 2
}

func serviceName(s meshstatus.Service) string {
	name := s.Namespace + "/" + s.Name
	if s.Port != 0 {
		name += fmt.Sprintf(":%d", s.Port)
	}
	return name
}

func meshTable(w io.Writer, replicas []replica, now time.Time, wide bool, style style) error {
	services := merge(replicas)
	if len(services) == 0 {
		fmt.Fprintln(w, "no services are in the mesh")
		return nil
	}
	tabs := tabwriter.NewWriter(w, 0, 0, 3, ' ', 0)
	fmt.Fprintln(tabs, "SERVICE\tROLLOUT\tWEIGHT\tEPOCH\tACKNOWLEDGED")
	for _, s := range services {
		acknowledged := 0
		for _, p := range s.Proxies {
			if p.Acknowledged {
				acknowledged++
			}
		}
		note := ""
		if s.differ {
			note = " (replicas differ)"
		}
		fmt.Fprintf(tabs, "%s\t%s\t%d%%\t%d\t%d/%d%s\n", serviceName(s.Service), dash(s.Owner), s.Weight, s.Epoch, acknowledged, len(s.Proxies), note)
	}
	if err := tabs.Flush(); err != nil {
		return err
	}
	for _, s := range services {
		for _, p := range s.Proxies {
			line := fmt.Sprintf("%s  %s  ", serviceName(s.Service), p.Node)
			switch {
			case p.Rejected != "":
				line += style.paint(red, "refused") + ago(" %s ago", p.Since, now) + ": " + plain(p.Rejected)
			case !p.Acknowledged:
				line += style.paint(yellow, "waiting") + ago(" for %s", p.Since, now)
			case wide:
				line += style.paint(green, "acknowledged") + ago(" %s ago", p.Since, now) + after(" ", plain(p.Version))
			default:
				continue
			}
			fmt.Fprintln(w, line)
		}
	}
	return nil
}

// ago is empty where the time is not known.
func ago(format string, since, now time.Time) string {
	if since.IsZero() {
		return ""
	}
	return fmt.Sprintf(format, age(since, now))
}
