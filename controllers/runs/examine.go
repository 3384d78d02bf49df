package runs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"

	batchv1 "k8s.io/api/batch/v1"

	"github.com/sluice-mesh/sluice/analysis/check"
	"github.com/sluice-mesh/sluice/api/v1alpha1"
)

// examine looks for what is wrong with one metric, with its arguments as they are now. What a person must
// mend is a *Problem with the field below the metric; any other error is the API server's.
func examine(ctx context.Context, secrets *secrets, metric v1alpha1.Metric, args arguments, revisions v1alpha1.RunRevisions) error {
	if metric.Compare != "" {
		control := hash(revisions, metric.Compare)
		if control == "" {
			return &Problem{"compare", lacks(metric.Compare)}
		}
		if !distinguishes(metric.Provider) {
			return &Problem{"compare", "the provider asks the same about both versions; use {{args.revision}} to tell which one is measured"}
		}
	}
	switch p := metric.Provider; {
	case p.Prometheus != nil:
		return examinePrometheus(ctx, secrets, metric, args)
	case p.Web != nil:
		return examineWeb(ctx, secrets, metric, args)
	case p.Job != nil:
		_, err := jobSpec(p.Job, args)
		return err
	}
	return &Problem{"provider", "give one of prometheus, web, job"}
}

// distinguishes tells whether a provider's texts name the version that is measured.
func distinguishes(provider v1alpha1.MetricProvider) bool {
	raw, err := json.Marshal(provider)
	if err != nil {
		return false
	}
	for _, name := range check.Arguments(string(raw)) {
		if name == check.RevisionArgument {
			return true
		}
	}
	return false
}

func examinePrometheus(ctx context.Context, secrets *secrets, metric v1alpha1.Metric, args arguments) error {
	p := metric.Provider.Prometheus
	query, err := args.expand(p.Query)
	if err != nil {
		return &Problem{"provider.prometheus.query", err.Error()}
	}
	expected := kinds(metric.Provider)
	if !args.usesSecret(p.Query) { // the parser's message would repeat it
		kind, err := answers(query)
		if err != nil {
			return &Problem{"provider.prometheus.query", err.Error()}
		}
		expected = []check.Kind{kind}
	}
	if _, err := compile(metric, args, expected...); err != nil {
		return err
	}
	if p.Address == "" {
		return nil
	}
	if err := examineURL("provider.prometheus.address", p.Address, args); err != nil {
		return err
	}
	return examineConnection(ctx, secrets, "provider.prometheus", p.Headers, p.Connection, args)
}

func examineWeb(ctx context.Context, secrets *secrets, metric v1alpha1.Metric, args arguments) error {
	p := metric.Provider.Web
	if _, err := compile(metric, args, kinds(metric.Provider)...); err != nil {
		return err
	}
	if _, err := args.expand(p.Body); err != nil {
		return &Problem{"provider.web.body", err.Error()}
	}
	if err := examineURL("provider.web.url", p.URL, args); err != nil {
		return err
	}
	return examineConnection(ctx, secrets, "provider.web", p.Headers, p.Connection, args)
}

// kinds are the answers that a provider can give.
func kinds(provider v1alpha1.MetricProvider) []check.Kind {
	if provider.Web != nil {
		return []check.Kind{check.KindJSON}
	}
	return []check.Kind{check.KindScalar, check.KindVector, check.KindString}
}

// compile makes a metric's conditions ready for the kinds of answers that can come.
func compile(metric v1alpha1.Metric, args arguments, kinds ...check.Kind) (*check.Program, error) {
	m := rule(metric)
	for _, condition := range []struct {
		field string
		text  *string
	}{{"successCondition", &m.SuccessCondition}, {"failureCondition", &m.FailureCondition}} {
		expanded, err := args.expandShown(*condition.text)
		if err != nil {
			return nil, &Problem{condition.field, err.Error()}
		}
		*condition.text = expanded
	}
	program, err := check.Compile(m, kinds...)
	var wrong *check.FieldError
	switch {
	case errors.As(err, &wrong):
		return nil, &Problem{wrong.Field, wrong.Message}
	case err != nil:
		return nil, &Problem{"successCondition", err.Error()}
	}
	return program, nil
}

// examineURL refuses what is no URL; the message does not repeat it, for it may hold a secret.
func examineURL(field, text string, args arguments) error {
	expanded, err := args.expand(text)
	if err != nil {
		return &Problem{field, err.Error()}
	}
	parsed, err := url.Parse(expanded)
	if err != nil || parsed.Scheme != "http" && parsed.Scheme != "https" || parsed.Host == "" {
		return &Problem{field, "not a URL such as https://prometheus.example:9090; correct it"}
	}
	if parsed.User != nil {
		return &Problem{field, "a URL does not hold a user's name or password; give them in connection.basicAuthSecret"}
	}
	return nil
}

// examineConnection looks for Secrets that are missing and headers with unknown arguments.
func examineConnection(ctx context.Context, secrets *secrets, field string, headers []v1alpha1.Header, connection *v1alpha1.Connection, args arguments) error {
	for i, header := range headers {
		if _, err := args.expand(header.Value); err != nil {
			return &Problem{fmt.Sprintf("%s.headers[%d].value", field, i), err.Error()}
		}
	}
	read, err := newConnection(ctx, secrets, connection)
	switch {
	case isMissing(err):
		return &Problem{field + ".connection", err.Error()}
	case err != nil:
		return err
	}
	if _, err := read.RoundTripper(); err != nil {
		return &Problem{field + ".connection", err.Error()}
	}
	return nil
}

// jobSpec is the spec of a Job with its arguments, as it was written otherwise: no field is lost that this
// program does not know.
func jobSpec(job *v1alpha1.JobProvider, args arguments) (map[string]any, error) {
	const field = "provider.job.spec"
	var written any
	raw, err := json.Marshal(job.Spec)
	if err == nil {
		err = json.Unmarshal(raw, &written)
	}
	if err != nil {
		return nil, &Problem{field, "not a Job's spec: " + err.Error()}
	}
	expanded, err := expandAll(written, args)
	if err != nil {
		return nil, &Problem{field, err.Error()}
	}
	spec, ok := expanded.(map[string]any)
	if !ok {
		return nil, &Problem{field, "not a Job's spec: it has no fields"}
	}
	if raw, err = json.Marshal(spec); err == nil {
		err = json.Unmarshal(raw, &batchv1.JobSpec{})
	}
	if err != nil {
		return nil, &Problem{field, "not a Job's spec: " + err.Error()}
	}
	return spec, nil
}

// expandAll fills the arguments into every text of a JSON value that people can read.
func expandAll(value any, args arguments) (any, error) {
	switch value := value.(type) {
	case string:
		return args.expandShown(value)
	case []any:
		for i := range value {
			expanded, err := expandAll(value[i], args)
			if err != nil {
				return nil, err
			}
			value[i] = expanded
		}
	case map[string]any:
		for key := range value {
			expanded, err := expandAll(value[key], args)
			if err != nil {
				return nil, err
			}
			value[key] = expanded
		}
	}
	return value, nil
}
