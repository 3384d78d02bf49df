package runs

import (
	"context"
	"errors"
	"fmt"
	"slices"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-mesh/sluice/api/v1alpha1"
)

// Resolve makes the spec of a run from the templates and arguments that a Rollout names at a field (such as
// spec.analysis.background). Everything that can be refused before the run begins is refused with a
// *Problem: a template, argument, Secret or key that is missing or unknown, names that are there twice,
// conditions and queries that do not parse. Any other error is the API server's, and worth another try.
//
// It may also be asked when no release is on, to see whether a run could begin: versions that are not
// known yet are then left open.
func Resolve(ctx context.Context, reader client.Reader, rollout *v1alpha1.Rollout, ref v1alpha1.AnalysisRef, field string) (v1alpha1.AnalysisRunSpec, error) {
	r := &resolution{reader: reader, secrets: newSecrets(reader, rollout.Namespace), rollout: rollout, field: field, arguments: map[string]origin{}, ambiguous: map[string]string{}}
	r.spec = v1alpha1.AnalysisRunSpec{Rollout: rollout.Name, Revisions: revisionsOf(rollout)}
	if release := rollout.Status.Release; release != nil {
		r.spec.Release = release.ID
		if len(release.Weights) > 0 {
			r.spec.Since = release.Weights[0].DecidedAt.DeepCopy()
		}
	}
	if len(ref.Templates) == 0 {
		return r.spec, r.problem(".templates", "no template is named; name at least one")
	}
	for i, template := range ref.Templates {
		if err := r.add(ctx, i, template); err != nil {
			return r.spec, err
		}
	}
	if n := len(r.spec.Metrics); n > maxMetrics {
		return r.spec, r.problem(".templates", "%d metrics in all, and a run has at most %d; split the analysis", n, maxMetrics)
	}
	if n := len(r.spec.Args); n > maxArguments {
		return r.spec, r.problem(".templates", "%d arguments in all, and a run has at most %d; split the analysis", n, maxArguments)
	}
	if err := r.setArguments(ref.Args); err != nil {
		return r.spec, err
	}
	return r.spec, r.examine(ctx)
}

// What the API takes in one run.
const (
	maxMetrics   = 40
	maxArguments = 60
)

// resolution is the making of one spec.
type resolution struct {
	reader  client.Reader
	secrets *secrets
	rollout *v1alpha1.Rollout
	// field of the Rollout that asks.
	field string
	spec  v1alpha1.AnalysisRunSpec
	// origins say where each metric, and each argument by name, comes from.
	metrics   []origin
	arguments map[string]origin
	// ambiguous names, for arguments to which templates give different values, another template that does.
	ambiguous map[string]string
}

// origin is a place in a template.
type origin struct {
	// field of the Rollout that names the template; template for people; path in it.
	field, template, path string
}

// problem is one about the Rollout itself, at a field below the one that asks.
func (r *resolution) problem(below, format string, a ...any) *Problem {
	return &Problem{r.field + below, fmt.Sprintf(format, a...)}
}

// problem is one about a place in a template.
func (o origin) problem(below, message string) *Problem {
	return &Problem{o.field, fmt.Sprintf("%s: %s%s: %s", o.template, o.path, below, message)}
}

// add takes the metrics and arguments of one template.
func (r *resolution) add(ctx context.Context, i int, ref v1alpha1.TemplateRef) error {
	field := fmt.Sprintf(".templates[%d]", i)
	spec, name, err := r.template(ctx, ref)
	if apierrors.IsNotFound(err) {
		return r.problem(field+".name", "there is no %s; create it, or correct the name or clusterScope", name)
	}
	if err != nil {
		return fmt.Errorf("get %s: %w", name, err)
	}
	at := func(path string, a ...any) origin {
		return origin{r.field + field, name, fmt.Sprintf(path, a...)}
	}
	for j, metric := range spec.Metrics {
		here := at("spec.metrics[%d]", j)
		if k := slices.IndexFunc(r.spec.Metrics, func(m v1alpha1.Metric) bool { return m.Name == metric.Name }); k >= 0 {
			return here.problem(".name", fmt.Sprintf("%s has a metric %s too; names must differ over all templates, so rename one", r.metrics[k].template, metric.Name))
		}
		r.spec.Metrics, r.metrics = append(r.spec.Metrics, *metric.DeepCopy()), append(r.metrics, here)
	}
	for j, arg := range spec.Args {
		here := at("spec.args[%d]", j)
		k := slices.IndexFunc(r.spec.Args, func(a v1alpha1.Argument) bool { return a.Name == arg.Name })
		switch {
		case k < 0:
			r.spec.Args, r.arguments[arg.Name] = append(r.spec.Args, *arg.DeepCopy()), here
		case !given(r.spec.Args[k]):
			r.spec.Args[k], r.arguments[arg.Name] = *arg.DeepCopy(), here
		case given(arg) && !same(arg, r.spec.Args[k]):
			r.ambiguous[arg.Name] = name
		}
	}
	return nil
}

func (r *resolution) template(ctx context.Context, ref v1alpha1.TemplateRef) (spec v1alpha1.AnalysisTemplateSpec, name string, err error) {
	if ref.ClusterScope {
		template := &v1alpha1.ClusterAnalysisTemplate{}
		err = r.reader.Get(ctx, types.NamespacedName{Name: ref.Name}, template)
		return template.Spec, "ClusterAnalysisTemplate " + ref.Name, err
	}
	template := &v1alpha1.AnalysisTemplate{}
	err = r.reader.Get(ctx, types.NamespacedName{Namespace: r.rollout.Namespace, Name: ref.Name}, template)
	return template.Spec, "AnalysisTemplate " + ref.Name, err
}

func given(a v1alpha1.Argument) bool { return a.Value != nil || a.ValueFrom != nil }

func same(a, b v1alpha1.Argument) bool {
	if a.Value != nil || b.Value != nil {
		return a.Value != nil && b.Value != nil && *a.Value == *b.Value
	}
	from, other := a.ValueFrom, b.ValueFrom
	return from.PodTemplateHash == other.PodTemplateHash && equal(from.SecretKeyRef, other.SecretKeyRef) && equal(from.FieldRef, other.FieldRef)
}

func equal[T comparable](a, b *T) bool {
	return a == b || a != nil && b != nil && *a == *b
}

// setArguments gives each argument its value: the Rollout's, or the templates' own.
func (r *resolution) setArguments(args []v1alpha1.Argument) error {
	for i, arg := range args {
		k := slices.IndexFunc(r.spec.Args, func(a v1alpha1.Argument) bool { return a.Name == arg.Name })
		if k < 0 {
			return r.problem(fmt.Sprintf(".args[%d].name", i), "no template has an argument %s; remove it, or correct the name", arg.Name)
		}
		if given(arg) {
			r.spec.Args[k] = *arg.DeepCopy()
			r.arguments[arg.Name] = origin{field: fmt.Sprintf("%s.args[%d]", r.field, i)}
			delete(r.ambiguous, arg.Name)
		}
	}
	for i := range r.spec.Args {
		arg := &r.spec.Args[i]
		if !given(*arg) {
			return r.problem(".args", "argument %s of %s has no value; give it one", arg.Name, r.arguments[arg.Name].template)
		}
		if other := r.ambiguous[arg.Name]; other != "" {
			return r.problem(".args", "argument %s has one value in %s and another in %s; give it one here", arg.Name, r.arguments[arg.Name].template, other)
		}
		if err := r.setArgument(arg); err != nil {
			return r.arguments[arg.Name].valueProblem(err)
		}
	}
	return nil
}

// valueProblem is one about an argument's value, wherever that was given.
func (o origin) valueProblem(err error) *Problem {
	if o.template == "" {
		return &Problem{o.field + ".valueFrom", err.Error()}
	}
	return o.problem(".valueFrom", err.Error())
}

// setArgument replaces what is found out now by its value. Secrets stay references.
func (r *resolution) setArgument(arg *v1alpha1.Argument) error {
	from := arg.ValueFrom
	switch {
	case from == nil || from.SecretKeyRef != nil:
		return nil
	case from.FieldRef != nil:
		value, err := fieldOf(r.rollout, from.FieldRef.FieldPath)
		if err != nil {
			return fmt.Errorf("fieldRef.fieldPath: %w; correct the path", err)
		}
		arg.Value, arg.ValueFrom = &value, nil
		return nil
	default:
		value := hash(r.spec.Revisions, from.PodTemplateHash)
		if value == "" && (r.releasing() || hash(r.expected(), from.PodTemplateHash) == "") {
			return fmt.Errorf("podTemplateHash: %s", lacks(from.PodTemplateHash))
		}
		arg.Value, arg.ValueFrom = &value, nil
		return nil
	}
}

// examine looks for what is wrong with the metrics, with the arguments as they are now.
func (r *resolution) examine(ctx context.Context) error {
	args, err := readArguments(ctx, r.secrets, r.spec)
	if isMissing(err) {
		return r.problem(".args", "%v", err)
	}
	if err != nil {
		return err
	}
	revisions := r.spec.Revisions
	if !r.releasing() { // any will do to see whether it would work
		revisions = r.expected()
		args = args.about(revisions.Canary)
	}
	for i, metric := range r.spec.Metrics {
		err := examine(ctx, r.secrets, metric, args, revisions)
		var problem *Problem
		switch {
		case errors.As(err, &problem):
			return r.metrics[i].problem("."+problem.Field, problem.Message)
		case err != nil:
			return err
		}
	}
	return nil
}

// expected are the versions that the next release will have, by any name.
func (r *resolution) expected() v1alpha1.RunRevisions {
	revisions := v1alpha1.RunRevisions{Canary: "canary", Stable: "stable"}
	if r.rollout.Spec.Analysis.Compare.Against == v1alpha1.RevisionBaseline {
		revisions.Baseline = "baseline"
	}
	return revisions
}

// lacks says that a release has no such version, and what to do.
func lacks(name v1alpha1.RevisionName) string {
	if name == v1alpha1.RevisionBaseline {
		return "there is no Baseline; set the Rollout's spec.analysis.compare.against to Baseline to have one"
	}
	return fmt.Sprintf("there is no %s here; name another version", name)
}

func (r *resolution) releasing() bool {
	release := r.rollout.Status.Release
	return release != nil && release.EndedAt == nil
}

// revisionsOf are the versions of a Rollout's release. After a promotion the canary is what stable is.
func revisionsOf(rollout *v1alpha1.Rollout) v1alpha1.RunRevisions {
	var revisions v1alpha1.RunRevisions
	if stable := rollout.Status.Stable; stable != nil {
		revisions.Stable, revisions.Canary = stable.Hash, stable.Hash
	}
	if canary := rollout.Status.Canary; canary != nil {
		revisions.Canary = canary.Hash
	}
	if baseline := rollout.Status.Baseline; baseline != nil {
		revisions.Baseline = baseline.Hash
	}
	return revisions
}

func hash(revisions v1alpha1.RunRevisions, name v1alpha1.RevisionName) string {
	switch name {
	case v1alpha1.RevisionStable:
		return revisions.Stable
	case v1alpha1.RevisionCanary:
		return revisions.Canary
	case v1alpha1.RevisionBaseline:
		return revisions.Baseline
	}
	return ""
}
