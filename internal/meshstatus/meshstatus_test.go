package meshstatus

import (
	"bytes"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestRoundTrip(t *testing.T) {
	want := Status{Replica: "sluice-operator-0", Services: []Service{
		{Namespace: "demo", Name: "quiet"},
		{Namespace: "demo", Name: "shop", Port: 80, Owner: "shop", Epoch: 7, Weight: 25, Proxies: []Proxy{
			{Node: "load-1.demo", Acknowledged: true, Version: "abc", Since: time.Unix(1e9, 0).UTC()},
			{Node: "load-2.demo", Rejected: "no such cluster"},
		}},
	}}
	recorder := httptest.NewRecorder()
	Handler(func() Status { return want }).ServeHTTP(recorder, httptest.NewRequest("GET", Path, nil))
	if strings.Contains(recorder.Body.String(), "0001-01-01") {
		t.Errorf("a time that is not known is written: %s", recorder.Body)
	}
	got, err := Read(recorder.Body)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(&want, got); diff != "" {
		t.Error(diff)
	}
}

func TestRead(t *testing.T) {
	if got, err := Read(strings.NewReader(`{"replica":"a","later":{"x":1}}`)); err != nil || got.Replica != "a" {
		t.Errorf("a newer replica's answer: %v, %v", got, err)
	}
	for name, body := range map[string][]byte{
		"not JSON": []byte("no endpoints"),
		"empty":    nil,
		"endless":  bytes.Repeat([]byte(" "), maxBytes+1),
	} {
		if _, err := Read(bytes.NewReader(body)); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
