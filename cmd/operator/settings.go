package main

import (
	"fmt"
	"math"
	"strconv"
	"time"

	"github.com/spf13/pflag"

	"github.com/sluice-mesh/sluice/mesh/ir"
)

// settingsOptions are what all proxies do alike. Shares are percentages such as "1" or "0.01".
type settingsOptions struct {
	accessLogShare  string
	accessLogErrors bool
	accessLogSlow   time.Duration
	endpoint        string
	format          string
	traceShare      string
	propagation     string
}

func (o *settingsOptions) bind(flags *pflag.FlagSet) {
	flags.StringVar(&o.accessLogShare, "access-log-share", "0", "percentage of the requests that proxies write to their access log, besides errors and slow ones")
	flags.BoolVar(&o.accessLogErrors, "access-log-errors", false, "let proxies write every failed request to their access log")
	flags.DurationVar(&o.accessLogSlow, "access-log-slow", 0, "let proxies write every request that took so long to their access log; 0: none")
	flags.StringVar(&o.endpoint, "tracing-endpoint", "", "URL of the collector that proxies send spans to; empty: none")
	flags.StringVar(&o.format, "tracing-format", "otlp", "what the collector understands: otlp or zipkin")
	flags.StringVar(&o.traceShare, "tracing-share", "1", "percentage of the requests without a trace that begin one")
	flags.StringVar(&o.propagation, "tracing-propagation", "w3c", "headers by which a trace that begins in a proxy is passed on: w3c or b3")
}

// mesh says the options in the mesh's terms.
func (o *settingsOptions) mesh() (ir.Settings, error) {
	logged, err := millionths(o.accessLogShare)
	if err != nil {
		return ir.Settings{}, fmt.Errorf("--access-log-share: %w", err)
	}
	traced, err := millionths(o.traceShare)
	if err != nil {
		return ir.Settings{}, fmt.Errorf("--tracing-share: %w", err)
	}
	format, is := map[string]ir.TraceFormat{"otlp": ir.OTLP, "zipkin": ir.Zipkin}[o.format]
	if !is {
		return ir.Settings{}, fmt.Errorf("--tracing-format: %q is neither otlp nor zipkin", o.format)
	}
	propagation, is := map[string]ir.Propagation{"w3c": ir.W3C, "b3": ir.B3}[o.propagation]
	if !is {
		return ir.Settings{}, fmt.Errorf("--tracing-propagation: %q is neither w3c nor b3", o.propagation)
	}
	settings := ir.Settings{
		AccessLog: ir.AccessLog{Share: logged, Errors: o.accessLogErrors, Slow: o.accessLogSlow},
		Tracing:   ir.Tracing{Endpoint: o.endpoint, Format: format, Share: traced, Propagation: propagation},
	}
	if err := settings.Validate(); err != nil {
		return ir.Settings{}, fmt.Errorf("flags of access log and tracing: %w", err)
	}
	return settings.Normalise(), nil
}

// millionths of a percentage such as "0.5".
func millionths(percent string) (uint32, error) {
	number, err := strconv.ParseFloat(percent, 64)
	if err != nil || !(number >= 0 && number <= 100) {
		return 0, fmt.Errorf("%q is no percentage from 0 to 100, such as 0.5", percent)
	}
	return uint32(math.Round(number * ir.Million / 100)), nil
}
