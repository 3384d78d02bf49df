package runs

import (
	"errors"
	"fmt"
	"strings"

	"github.com/prometheus/prometheus/promql/parser"

	"github.com/sluice-mesh/sluice/analysis/check"
)

// promql is Prometheus' own parser, with all that newer servers may know.
var promql = parser.NewParser(parser.Options{
	EnableExperimentalFunctions: true, ExperimentalDurationExpr: true, EnableExtendedRangeSelectors: true, EnableBinopFillModifiers: true,
})

// answers says which kind of answer a query gives; an error says what is wrong with the query.
func answers(query string) (check.Kind, error) {
	expression, err := promql.ParseExpr(query)
	if err != nil {
		var many parser.ParseErrors
		if errors.As(err, &many) && len(many) > 0 { // the rest is what follows from the first
			return "", fmt.Errorf("not PromQL: at %d: %w", many[0].PositionRange.Start+1, many[0].Err)
		}
		return "", fmt.Errorf("not PromQL: %s", strings.TrimSpace(err.Error()))
	}
	switch kind := expression.Type(); kind {
	case parser.ValueTypeScalar:
		return check.KindScalar, nil
	case parser.ValueTypeVector:
		return check.KindVector, nil
	case parser.ValueTypeString:
		return check.KindString, nil
	default:
		return "", fmt.Errorf("the query gives a %s, which is no single result; wrap it in a function such as rate() or max_over_time()", parser.DocumentedType(kind))
	}
}
