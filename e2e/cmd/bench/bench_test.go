package main

import (
	"testing"
	"time"
)

func TestSplitOf(t *testing.T) {
	config := []byte(`{"applied":null,"services":[
		{"namespace":"other","name":"shop","split":{"epoch":9}},
		{"namespace":"a","name":"shop","split":{"epoch":3,"weight":20,"since":"2026-01-02T03:04:05.006Z"}}]}`)
	got, err := splitOf(config, "a", "shop")
	want := split{Epoch: 3, Weight: 20, Since: time.Date(2026, 1, 2, 3, 4, 5, 6e6, time.UTC)}
	if err != nil || got != want {
		t.Errorf("got %+v, %v; want %+v", got, err, want)
	}
	for _, bad := range []string{`{}`, `nonsense`} {
		if _, err := splitOf([]byte(bad), "a", "shop"); err == nil {
			t.Errorf("splitOf(%s): no error", bad)
		}
	}
}
