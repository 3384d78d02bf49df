package main

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/pflag"

	"github.com/sluice-mesh/sluice/mesh/ir"
)

func TestSettings(t *testing.T) {
	cases := map[string]struct {
		flags   string
		want    ir.Settings
		refused string
	}{
		"by default": {want: ir.Settings{}},
		"everything": {
			flags: "--access-log-share=0.5 --access-log-errors=true --access-log-slow=1s --tracing-endpoint=http://zipkin:9411/api/v2/spans --tracing-format=zipkin --tracing-share=10 --tracing-propagation=b3",
			want: ir.Settings{
				AccessLog: ir.AccessLog{Share: 5000, Errors: true, Slow: time.Second},
				Tracing:   ir.Tracing{Endpoint: "http://zipkin:9411/api/v2/spans", Format: ir.Zipkin, Share: 100_000, Propagation: ir.B3},
			},
		},
		"a share as Helm writes it":  {flags: "--access-log-share=1e-04", want: ir.Settings{AccessLog: ir.AccessLog{Share: 1}}},
		"a share beyond all":         {flags: "--access-log-share=101", refused: `--access-log-share: "101" is no percentage from 0 to 100`},
		"a share that is none":       {flags: "--tracing-share=NaN", refused: "--tracing-share"},
		"a format that is none":      {flags: "--tracing-format=jaeger", refused: "--tracing-format"},
		"a propagation that is none": {flags: "--tracing-propagation=xray", refused: "--tracing-propagation"},
		"an endpoint that is none":   {flags: "--tracing-endpoint=collector:4318", refused: "is no http or https URL"},
		"slow in less than no time":  {flags: "--access-log-slow=-1s", refused: "slow is negative"},
	}
	for name, test := range cases {
		t.Run(name, func(t *testing.T) {
			var o settingsOptions
			flags := pflag.NewFlagSet("operator", pflag.ContinueOnError)
			o.bind(flags)
			if err := flags.Parse(strings.Fields(test.flags)); err != nil {
				t.Fatal(err)
			}
			got, err := o.mesh()
			if test.refused != "" {
				if err == nil || !strings.Contains(err.Error(), test.refused) {
					t.Errorf("got %v, want an error with %q", err, test.refused)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("settings (-want +got):\n%s", diff)
			}
		})
	}
}
