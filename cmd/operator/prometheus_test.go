package main

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"

	"github.com/sluice-mesh/sluice/analysis/prometheus"
)

func TestPrometheusOptions(t *testing.T) {
	folder := t.TempDir()
	file := func(name, content string) string {
		path := filepath.Join(folder, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	parse := func(args ...string) (prometheus.Options, error) {
		o := prometheusOptions{}
		flags := pflag.NewFlagSet("", pflag.ContinueOnError)
		o.bind(flags)
		if err := flags.Parse(args); err != nil {
			t.Fatal(err)
		}
		return o.options()
	}
	var told http.Header
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		told = r.Header.Clone()
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write([]byte(`{"status": "success", "data": {"resultType": "scalar", "result": [1, "1"]}}`))
	}))
	defer server.Close()

	for name, test := range map[string]struct {
		args         []string
		header, want string
	}{
		"plain":  {nil, "Authorization", ""},
		"token":  {[]string{"--prometheus-bearer-token-file=" + file("token", "abc\n")}, "Authorization", "Bearer abc"},
		"basic":  {[]string{"--prometheus-username-file=" + file("username", "me\n"), "--prometheus-password-file=" + file("password", "pw")}, "Authorization", "Basic bWU6cHc="},
		"header": {[]string{"--prometheus-header=X-Scope-OrgID=a=b", "--prometheus-header=X-Other=c,d"}, "X-Scope-OrgID", "a=b"},
		"other":  {[]string{"--prometheus-header=X-Scope-OrgID=a=b", "--prometheus-header=X-Other=c,d"}, "X-Other", "c,d"},
	} {
		t.Run(name, func(t *testing.T) {
			options, err := parse(append(test.args, "--prometheus-address="+server.URL)...)
			if err != nil {
				t.Fatal(err)
			}
			client, err := prometheus.NewClient(options)
			if err != nil {
				t.Fatal(err)
			}
			defer client.Close()
			if _, err := client.Query(t.Context(), "1", time.Now()); err != nil {
				t.Fatal(err)
			}
			if got := told.Get(test.header); got != test.want {
				t.Errorf("%s was %q, want %q", test.header, got, test.want)
			}
		})
	}
	for name, test := range map[string]struct {
		args []string
		want string
	}{
		"user alone":        {[]string{"--prometheus-username-file=x"}, "--prometheus-username-file and --prometheus-password-file go together"},
		"user is not":       {[]string{"--prometheus-username-file=" + filepath.Join(folder, "none"), "--prometheus-password-file=x"}, "--prometheus-username-file: open"},
		"header is nothing": {[]string{"--prometheus-header=secret"}, "--prometheus-header: give it as name=value"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := parse(test.args...); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %q", err, test.want)
			}
		})
	}
}
