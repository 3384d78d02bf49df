package bench

import (
	"math"
	"strconv"
)

// number writes a number as people do.
func number(value float64) string {
	return strconv.FormatFloat(math.Round(value*1e6)/1e6, 'f', -1, 64)
}

// percent writes a share.
func percent(value float64) string { return number(100*value) + " %" }
