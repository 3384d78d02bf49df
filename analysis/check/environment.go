package check

import (
	"errors"
	"math"
	"strings"
	"sync"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
)

const (
	// longestCondition is how many characters a condition may have.
	longestCondition = 2000
	// mostCost bounds one evaluation, in CEL's units; comparing two numbers costs about 5. It is what
	// Kubernetes allows for one expression of an admission policy.
	mostCost = 1_000_000
	// known is the function that Compile puts around the operands of comparisons: it lets everything but
	// NaN through. No expression can call it by its name.
	known = "@known"
)

// errNaN is what a comparison with NaN gives, instead of false.
var errNaN = errors.New("a NaN is compared")

// errAbsent is what default takes its fallback for, besides null and NaN; cel-go has no error values for it.
var errAbsent = []string{"no such key", "index out of bounds"}

type environmentKey struct {
	kind    Kind
	compare Compare
}

var environments sync.Map // environmentKey to func() (*cel.Env, error): they cost milliseconds each

// environment gives the declarations for results of a kind.
func environment(kind Kind, compare Compare) (*cel.Env, error) {
	built, _ := environments.LoadOrStore(environmentKey{kind, compare}, sync.OnceValues(func() (*cel.Env, error) {
		return declare(kind, compare)
	}))
	return built.(func() (*cel.Env, error))()
}

func declare(kind Kind, compare Compare) (*cel.Env, error) {
	is, ok := map[Kind]*cel.Type{
		KindScalar: cel.DoubleType, KindVector: cel.ListType(cel.DoubleType), KindString: cel.StringType, KindJSON: cel.DynType,
	}[kind]
	if !ok {
		return nil, errors.New("results of this kind have no conditions")
	}
	options := []cel.EnvOption{
		cel.Variable("result", is),
		cel.CrossTypeNumericComparisons(true),
		cel.EnableHiddenAccumulatorName(true),
		cel.ParserExpressionSizeLimit(longestCondition),
		cel.ParserRecursionLimit(100),
		cel.Function(known, cel.Overload("known_any", []*cel.Type{cel.TypeParamType("A")}, cel.TypeParamType("A"), cel.UnaryBinding(refuseNaN))),
		cel.Function("isNaN", cel.Overload("isNaN_double", []*cel.Type{cel.DoubleType}, cel.BoolType, cel.UnaryBinding(isNaN))),
		cel.Function("isInf", cel.Overload("isInf_double", []*cel.Type{cel.DoubleType}, cel.BoolType, cel.UnaryBinding(isInf))),
		cel.Function("default", cel.Overload("default_any",
			[]*cel.Type{cel.TypeParamType("A"), cel.TypeParamType("A")}, cel.TypeParamType("A"),
			cel.BinaryBinding(fallback), cel.OverloadIsNonStrict())),
	}
	if kind == KindVector {
		options = append(options, seriesType(), cel.Variable("series", cel.ListType(seriesOf)))
	}
	if name := compare.variable(); name != "" {
		options = append(options, cel.Variable(name, is))
	}
	return cel.NewEnv(options...)
}

// variable is the name of the control's result in conditions.
func (c Compare) variable() string { return strings.ToLower(string(c)) }

func double(value ref.Val) (float64, bool) {
	d, ok := value.(types.Double)
	return float64(d), ok
}

func refuseNaN(value ref.Val) ref.Val {
	if d, ok := double(value); ok && math.IsNaN(d) {
		return types.WrapErr(errNaN)
	}
	return value
}

func isNaN(value ref.Val) ref.Val {
	d, ok := double(value)
	return types.Bool(ok && math.IsNaN(d))
}

func isInf(value ref.Val) ref.Val {
	d, ok := double(value)
	return types.Bool(ok && math.IsInf(d, 0))
}

// fallback gives a value, or another where it is not there: missing, null or NaN.
func fallback(value, other ref.Val) ref.Val {
	if d, ok := double(value); ok && math.IsNaN(d) || value == types.NullValue {
		return other
	}
	if err, ok := value.(*types.Err); ok {
		for _, text := range errAbsent {
			if strings.Contains(err.String(), text) {
				return other
			}
		}
	}
	return value
}
