package check

import (
	"strings"
	"time"
)

// longest is the longest duration that a metric may ask for.
const longest = 30 * 24 * time.Hour

// ParseDuration reads a duration as Go writes it, such as 30s or 1h30m. Empty is zero. Negative ones, and
// those above 30 days, are refused. Errors are FieldErrors.
func ParseDuration(field, text string) (time.Duration, error) {
	if strings.TrimSpace(text) == "" {
		return 0, nil
	}
	duration, err := time.ParseDuration(strings.TrimSpace(text))
	switch {
	case err != nil:
		return 0, wrong(field, "%q is not a duration: write a number with its unit, such as 30s, 5m or 1h30m", short(text, 40))
	case duration < 0:
		return 0, wrong(field, "%s is negative", duration)
	case duration > longest:
		return 0, wrong(field, "%s is longer than 30 days (720h)", duration)
	}
	return duration, nil
}
