package recent_test

import (
	"testing"

	"github.com/sluice-mesh/sluice/notifier/internal/recent"
)

func TestSetForgetsTheOldest(t *testing.T) {
	set := recent.New(2)
	for i, step := range []struct {
		key string
		new bool
	}{
		{"a", true}, {"a", false}, {"b", true}, {"a", false},
		{"c", true}, // a is forgotten
		{"b", false}, {"a", true}, {"b", true}, {"a", false},
	} {
		if got := set.Add(step.key); got != step.new {
			t.Errorf("step %d: Add(%q) = %v, want %v", i, step.key, got, step.new)
		}
	}
}
