package check

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
)

// seriesOf is the type of the elements of the variable series: labels and value.
var seriesOf = types.NewObjectType("Series")

// seriesType lets conditions read the fields of seriesOf, so that a misspelt one does not compile.
func seriesType() cel.EnvOption {
	return func(env *cel.Env) (*cel.Env, error) {
		return cel.CustomTypeProvider(seriesProvider{env.CELTypeProvider()})(env)
	}
}

type seriesProvider struct{ types.Provider }

func (p seriesProvider) FindStructType(name string) (*types.Type, bool) {
	if name == seriesOf.TypeName() {
		return types.NewTypeTypeWithParam(seriesOf), true
	}
	return p.Provider.FindStructType(name)
}

func (p seriesProvider) FindStructFieldNames(name string) ([]string, bool) {
	if name == seriesOf.TypeName() {
		return []string{"labels", "value"}, true
	}
	return p.Provider.FindStructFieldNames(name)
}

func (p seriesProvider) FindStructFieldType(name, field string) (*types.FieldType, bool) {
	if name != seriesOf.TypeName() {
		return p.Provider.FindStructFieldType(name, field)
	}
	set := func(any) bool { return true }
	switch field {
	case "labels":
		return &types.FieldType{Type: cel.MapType(cel.StringType, cel.StringType), IsSet: set, GetFrom: func(target any) (any, error) {
			series, ok := target.(Series)
			if !ok {
				return nil, errNoSeries
			}
			if series.Labels == nil {
				return map[string]string{}, nil
			}
			return series.Labels, nil
		}}, true
	case "value":
		return &types.FieldType{Type: cel.DoubleType, IsSet: set, GetFrom: func(target any) (any, error) {
			series, ok := target.(Series)
			if !ok {
				return nil, errNoSeries
			}
			return series.Value, nil
		}}, true
	}
	return nil, false
}

// NewValue refuses to make a Series: conditions read them only.
func (p seriesProvider) NewValue(name string, fields map[string]ref.Val) ref.Val {
	if name == seriesOf.TypeName() {
		return types.NewErr("a Series cannot be made")
	}
	return p.Provider.NewValue(name, fields)
}

var errNoSeries = errors.New("not a series")

// seriesValue is a Series as CEL sees it.
type seriesValue struct{ Series }

func (s seriesValue) Type() ref.Type { return seriesOf }
func (s seriesValue) Value() any     { return s.Series }

func (s seriesValue) ConvertToNative(to reflect.Type) (any, error) {
	if to == reflect.TypeFor[Series]() {
		return s.Series, nil
	}
	return nil, fmt.Errorf("convert series to %v: not possible", to)
}

func (s seriesValue) ConvertToType(to ref.Type) ref.Val {
	if to == types.TypeType {
		return seriesOf
	}
	return types.NewErr("convert series: not possible")
}

func (s seriesValue) Equal(other ref.Val) ref.Val {
	o, ok := other.(seriesValue)
	return types.Bool(ok && s.Series.Value == o.Series.Value && identity(s.Labels) == identity(o.Labels))
}

// identity writes labels so that equal ones are equal and others differ.
func identity(labels map[string]string) string {
	parts := make([]string, 0, len(labels))
	for name, value := range labels {
		parts = append(parts, fmt.Sprintf("%q=%q", name, value))
	}
	slices.Sort(parts)
	return strings.Join(parts, ",")
}

// ordered gives series in the order of their labels: a provider's order means nothing, and conditions that
// index must give the same answer every time.
func ordered(series []Series) []Series {
	type keyed struct {
		key string
		Series
	}
	keys := make([]keyed, len(series))
	for i, s := range series {
		keys[i] = keyed{identity(s.Labels), s}
	}
	slices.SortStableFunc(keys, func(a, b keyed) int { return strings.Compare(a.key, b.key) })
	sorted := make([]Series, len(series))
	for i, k := range keys {
		sorted[i] = k.Series
	}
	return sorted
}
