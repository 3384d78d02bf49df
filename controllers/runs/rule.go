package runs

import (
	"strconv"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sluice-mesh/sluice/analysis/check"
	"github.com/sluice-mesh/sluice/api/v1alpha1"
)

// rule is a metric in the terms of analysis/check, which decides what its measurements add up to.
func rule(metric v1alpha1.Metric) check.Metric {
	m := check.Metric{
		Name: metric.Name, Interval: duration(metric.Interval), InitialDelay: duration(metric.InitialDelay), Count: number(metric.Count, 0),
		SuccessCondition: metric.SuccessCondition, FailureCondition: metric.FailureCondition,
		FailureLimit: number(metric.FailureLimit, 0), InconclusiveLimit: number(metric.InconclusiveLimit, 0),
		DryRun: metric.DryRun, Weight: float64(number(metric.Weight, 1)), Critical: metric.Critical,
		Compare: check.Compare(metric.Compare),
	}
	if metric.ConsecutiveErrorLimit != nil {
		limit := int(*metric.ConsecutiveErrorLimit)
		m.ConsecutiveErrorLimit = &limit
	}
	if w := metric.MannWhitney; w != nil {
		m.MannWhitney = &check.MannWhitney{
			Direction: check.Direction(w.Direction), Difference: decimal(w.Difference), Alpha: decimal(w.Alpha), MinPoints: number(w.MinPoints, 0),
		}
		if w.Tolerance != "" {
			tolerance := decimal(w.Tolerance)
			m.MannWhitney.Tolerance = &tolerance
		}
	}
	return m
}

// decimal reads a number whose form the CRD has checked; what is absent is 0.
func decimal(text string) float64 {
	value, _ := strconv.ParseFloat(text, 64)
	return value
}

func duration(d *metav1.Duration) time.Duration {
	if d == nil {
		return 0
	}
	return d.Duration
}

func number(n *int32, absent int) int {
	if n == nil {
		return absent
	}
	return int(*n)
}
