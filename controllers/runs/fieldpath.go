package runs

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/runtime"

	"github.com/sluice-mesh/sluice/api/v1alpha1"
)

// fieldOf is the value of a field of a Rollout, as text. The path is dotted, with ['key'] for keys that are
// no names and [0] for items of lists, as in metadata.labels['team.example/name'].
func fieldOf(rollout *v1alpha1.Rollout, path string) (string, error) {
	keys, err := parsePath(path)
	if err != nil {
		return "", err
	}
	object, err := runtime.DefaultUnstructuredConverter.ToUnstructured(rollout)
	if err != nil {
		return "", fmt.Errorf("read rollout: %w", err)
	}
	var value any = object
	for i, key := range keys {
		found := false
		switch in := value.(type) {
		case map[string]any:
			value, found = in[key]
		case []any:
			if n, err := strconv.Atoi(key); err == nil && n >= 0 && n < len(in) {
				value, found = in[n], true
			}
		}
		if !found {
			return "", fmt.Errorf("the Rollout has no field %s", strings.Join(keys[:i+1], "."))
		}
	}
	switch value := value.(type) {
	case string:
		return value, nil
	case bool, int64, float64:
		return fmt.Sprint(value), nil
	default:
		return "", fmt.Errorf("the Rollout's field %s is not a text, a number or a truth value", path)
	}
}

var errPath = errors.New("a path is like spec.service.name or metadata.labels['team']")

// parsePath splits a path into its keys.
func parsePath(path string) ([]string, error) {
	var keys []string
	for rest := path; rest != ""; {
		switch {
		case rest[0] == '[':
			inside, after, closed := bracket(rest[1:])
			if !closed || inside == "" || len(keys) == 0 {
				return nil, errPath
			}
			keys, rest = append(keys, inside), after
		case rest[0] == '.' && len(keys) > 0, len(keys) == 0:
			rest = strings.TrimPrefix(rest, ".")
			end := strings.IndexAny(rest, ".[")
			if end < 0 {
				end = len(rest)
			}
			if end == 0 {
				return nil, errPath
			}
			keys, rest = append(keys, rest[:end]), rest[end:]
		default:
			return nil, errPath
		}
	}
	if len(keys) == 0 {
		return nil, errPath
	}
	return keys, nil
}

// bracket reads what is between an opening bracket and its end: a quoted key or a number.
func bracket(rest string) (inside, after string, closed bool) {
	for _, quote := range []string{"'", `"`} {
		if quoted, is := strings.CutPrefix(rest, quote); is {
			return strings.Cut(quoted, quote+"]")
		}
	}
	inside, after, closed = strings.Cut(rest, "]")
	if _, err := strconv.ParseUint(inside, 10, 31); err != nil {
		return "", "", false
	}
	return inside, after, closed
}
