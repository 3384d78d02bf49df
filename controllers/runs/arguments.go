package runs

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/sluice-mesh/sluice/analysis/check"
	"github.com/sluice-mesh/sluice/api/v1alpha1"
)

// arguments are the values of a run's arguments.
type arguments struct {
	// open are those that may be shown; all has the secret ones too.
	open, all map[string]string
}

// readArguments gives a run's arguments their values.
func readArguments(ctx context.Context, secrets *secrets, spec v1alpha1.AnalysisRunSpec) (arguments, error) {
	a := arguments{open: map[string]string{}, all: map[string]string{}}
	for _, arg := range spec.Args {
		switch {
		case arg.Value != nil:
			a.open[arg.Name], a.all[arg.Name] = *arg.Value, *arg.Value
		case arg.ValueFrom != nil && arg.ValueFrom.SecretKeyRef != nil:
			value, err := secrets.value(ctx, *arg.ValueFrom.SecretKeyRef)
			if err != nil {
				return arguments{}, fmt.Errorf("argument %s: %w", arg.Name, err)
			}
			a.all[arg.Name] = value
		}
	}
	return a.about(spec.Revisions.Canary), nil
}

// about is the same arguments with another version to measure; the hash may be empty when it is not known.
func (a arguments) about(revision string) arguments {
	a.open, a.all = maps.Clone(a.open), maps.Clone(a.all)
	delete(a.open, check.RevisionArgument)
	delete(a.all, check.RevisionArgument)
	if revision != "" {
		a.open[check.RevisionArgument], a.all[check.RevisionArgument] = revision, revision
	}
	return a
}

// expand fills the arguments into a text that is not shown.
func (a arguments) expand(text string) (string, error) {
	if err := a.known(text); err != nil {
		return "", err
	}
	return check.Expand(text, a.all) //nolint:wrapcheck // it names the placeholder, and is shown beside the field
}

// expandShown fills the arguments into a text that people can read; it must have no secret.
func (a arguments) expandShown(text string) (string, error) {
	if err := a.known(text); err != nil {
		return "", err
	}
	if i := slices.IndexFunc(check.Arguments(text), a.secret); i >= 0 {
		return "", fmt.Errorf("argument %s comes from a Secret and would be shown here; use it in a provider's address, query, URL, headers or body only", check.Arguments(text)[i])
	}
	return check.Expand(text, a.open) //nolint:wrapcheck // as above
}

// known refuses a text that has an argument which is not there.
func (a arguments) known(text string) error {
	for _, name := range check.Arguments(text) {
		if _, is := a.all[name]; is {
			continue
		}
		if name == check.RevisionArgument {
			return errors.New("{{args.revision}} is not known here; set spec.revisions of the run, or name no revision")
		}
		return fmt.Errorf("unknown argument %s; declare it in spec.args, or correct the name", name)
	}
	return nil
}

func (a arguments) secret(name string) bool {
	_, known := a.all[name]
	_, shown := a.open[name]
	return known && !shown
}

// usesSecret tells whether a text has a secret argument.
func (a arguments) usesSecret(text string) bool {
	return slices.ContainsFunc(check.Arguments(text), a.secret)
}
