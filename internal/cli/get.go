package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/sluice-mesh/sluice/api/v1alpha1"
)

func newGet(env *environment) *cobra.Command {
	var output string
	var watching, all bool
	cmd := &cobra.Command{
		Use:   "get [NAME]",
		Short: "List Rollouts, or show one with everything about its release",
		Example: "  sluice get                # the namespace's Rollouts\n" +
			"  sluice get shop --watch   # one, as it goes",
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: completeNames(env),
		RunE: func(cmd *cobra.Command, args []string) error {
			if !slices.Contains([]string{"", "wide", "json", "yaml"}, output) {
				return fmt.Errorf("--output %s: it is one of wide, json, yaml", output)
			}
			c, namespace, err := env.connect()
			if err != nil {
				return err
			}
			switch {
			case len(args) == 0 && watching:
				return errors.New("--watch needs the name of a Rollout")
			case len(args) == 0:
				if all {
					namespace = ""
				}
				return env.list(cmd.Context(), c, namespace, output)
			case all:
				return errors.New("--all-namespaces and a name exclude each other; name the namespace with -n")
			case watching && output != "":
				return errors.New("--watch and --output exclude each other")
			case watching:
				return env.watch(cmd.Context(), c, namespace, args[0])
			}
			return env.show(cmd.Context(), c, namespace, args[0], output)
		},
	}
	cmd.Flags().StringVarP(&output, "output", "o", "", "wide, json or yaml")
	cmd.Flags().BoolVarP(&watching, "watch", "w", false, "go on showing the Rollout as it changes")
	cmd.Flags().BoolVarP(&all, "all-namespaces", "A", false, "list the Rollouts of all namespaces")
	return cmd
}

func (env *environment) list(ctx context.Context, c client.Client, namespace, output string) error {
	var rollouts v1alpha1.RolloutList
	if err := c.List(ctx, &rollouts, client.InNamespace(namespace)); err != nil {
		return advise(err, "list rollouts")
	}
	slices.SortFunc(rollouts.Items, func(a, b v1alpha1.Rollout) int {
		return strings.Compare(a.Namespace+"/"+a.Name, b.Namespace+"/"+b.Name)
	})
	if output == "json" || output == "yaml" {
		for i := range rollouts.Items {
			clean(&rollouts.Items[i])
		}
		rollouts.APIVersion, rollouts.Kind = v1alpha1.GroupVersion.String(), "RolloutList"
		return write(env.Out, &rollouts, output)
	}
	if len(rollouts.Items) == 0 {
		where := "in namespace " + namespace + "; list all with: sluice get -A"
		if namespace == "" {
			where = "in this cluster"
		}
		fmt.Fprintf(env.ErrOut, "There are no Rollouts %s\n", where)
		return nil
	}
	return table(env.Out, rollouts.Items, env.now(), output == "wide", namespace == "")
}

func (env *environment) show(ctx context.Context, c client.Client, namespace, name, output string) error {
	rollout, err := find(ctx, c, namespace, name)
	if err != nil {
		return err
	}
	switch output {
	case "json", "yaml":
		clean(rollout)
		return write(env.Out, rollout, output)
	case "wide":
		return table(env.Out, []v1alpha1.Rollout{*rollout}, env.now(), true, false)
	}
	tree(env.Out, rollout, env.now(), env.style)
	return nil
}

// clean gives a Rollout its kind, which typed clients leave out, and takes out who wrote which field.
func clean(r *v1alpha1.Rollout) {
	r.APIVersion, r.Kind = v1alpha1.GroupVersion.String(), "Rollout"
	r.ManagedFields = nil
}

func write(w io.Writer, object any, output string) error {
	body, err := json.MarshalIndent(object, "", "  ")
	if err == nil && output == "yaml" {
		body, err = yaml.JSONToYAML(body)
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", output, err)
	}
	_, err = fmt.Fprintln(w, strings.TrimRight(string(body), "\n"))
	return err
}

// watch shows one Rollout until the context ends: drawn again in place on a terminal, one line for each
// change anywhere else.
func (env *environment) watch(ctx context.Context, c client.WithWatch, namespace, name string) error {
	last, lines := "", 0
	return follow(ctx, c, namespace, name, func(r *v1alpha1.Rollout) (bool, error) {
		if env.style.redraw {
			lines = redraw(env.Out, r, env.now(), env.style, lines)
		} else if line := changeLine(r); line != last {
			last = line
			fmt.Fprintln(env.Out, env.now().Format(time.RFC3339), line)
		}
		return false, nil
	})
}

// redraw draws over the lines drawn before and returns how many they are now. Lines are cut at the
// terminal's edge while it draws, because one that wraps would count as two.
func redraw(w io.Writer, r *v1alpha1.Rollout, now time.Time, s style, lines int) int {
	var drawn bytes.Buffer
	if lines > 0 {
		fmt.Fprintf(&drawn, "\x1b[%dA\x1b[J", lines)
	}
	drawn.WriteString("\x1b[?7l")
	before := drawn.Len()
	tree(&drawn, r, now, s)
	lines = bytes.Count(drawn.Bytes()[before:], []byte("\n"))
	drawn.WriteString("\x1b[?7h")
	_, _ = w.Write(drawn.Bytes())
	return lines
}

// changeLine is what a log shows of a Rollout; two states with the same line are the same to a reader.
func changeLine(r *v1alpha1.Rollout) string {
	line := fmt.Sprintf("%s %s weight=%d/%d", r.Name, phase(r), r.Status.Weight.Live, r.Status.Weight.Desired)
	if r.Status.Step != nil {
		line += fmt.Sprintf(" step=%q", r.Status.Step.Display)
	}
	if n := len(r.Status.Weight.Lagging); n > 0 {
		line += fmt.Sprintf(" lagging=%d", n)
	}
	return line + after(" ", plain(r.Status.Message))
}
