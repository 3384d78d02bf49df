package observe

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/sluice-mesh/sluice/mesh/ir"
)

const (
	trace128 = "4bf92f3577b34da6a3ce929d0e0e4736"
	trace64  = "a3ce929d0e0e4736"
	parent64 = "00f067aa0ba902b7"
	other64  = "05e3ac9a4f6e3b90"
	// The names that the test's randomness makes: a trace's take two numbers, a span's one.
	first128 = "00000000000000010000000000000002"
	third64  = "0000000000000003"
	first64  = "0000000000000001"
)

// TestPropagation: what comes, what is drawn, what goes on in place of it.
func TestPropagation(t *testing.T) {
	w3c := "00-" + trace128 + "-" + parent64 + "-01"
	ours := "00-" + trace128 + "-" + first64 + "-01"
	begun := header{"traceparent": "00-" + first128 + "-" + third64 + "-01"}
	begunB3 := header{"x-b3-traceid": first128, "x-b3-spanid": third64, "x-b3-sampled": "1"}
	for name, c := range map[string]struct {
		came        header
		share       uint32
		propagation ir.Propagation
		want        header // nil: no span
	}{
		"nothing, and none begins":        {},
		"nothing, and one begins":         {share: million, want: begun},
		"nothing, and one begins in B3":   {share: million, propagation: ir.B3, want: begunB3},
		"the calling proxy has drawn":     {came: header{"sluice-intended": "shop/cart;v1"}, share: million},
		"W3C":                             {came: header{"traceparent": w3c}, want: header{"traceparent": ours}},
		"W3C, to be passed on as B3":      {came: header{"traceparent": w3c}, propagation: ir.B3, want: header{"traceparent": ours}},
		"W3C from a proxy":                {came: header{"traceparent": w3c, "sluice-intended": "a"}, want: header{"traceparent": ours}},
		"W3C with spaces":                 {came: header{"traceparent": " " + w3c + "\t"}, want: header{"traceparent": ours}},
		"W3C with a state":                {came: header{"traceparent": w3c, "tracestate": "a=b"}, want: header{"traceparent": ours}},
		"W3C, the name is random":         {came: header{"traceparent": "00-" + trace128 + "-" + parent64 + "-03"}, want: header{"traceparent": "00-" + trace128 + "-" + first64 + "-03"}},
		"W3C, flags nobody knows":         {came: header{"traceparent": "00-" + trace128 + "-" + parent64 + "-fd"}, want: header{"traceparent": ours}},
		"W3C, not sampled":                {came: header{"traceparent": "00-" + trace128 + "-" + parent64 + "-00"}, share: million},
		"W3C, random but not sampled":     {came: header{"traceparent": "00-" + trace128 + "-" + parent64 + "-02"}, share: million},
		"W3C to come":                     {came: header{"traceparent": "01-" + trace128 + "-" + parent64 + "-01-more"}, want: header{"traceparent": ours}},
		"W3C to come, as long":            {came: header{"traceparent": "cc-" + trace128 + "-" + parent64 + "-01"}, want: header{"traceparent": ours}},
		"W3C to come, but no dash":        {came: header{"traceparent": "cc-" + trace128 + "-" + parent64 + "-01.more"}},
		"W3C too long":                    {came: header{"traceparent": w3c + "-more"}},
		"W3C too long, and one begins":    {came: header{"traceparent": w3c + "-more"}, share: million, want: begun},
		"W3C too short":                   {came: header{"traceparent": w3c[:54]}},
		"W3C of a version there is not":   {came: header{"traceparent": "ff" + w3c[2:]}},
		"W3C in upper case":               {came: header{"traceparent": "00-4BF92F3577B34DA6A3CE929D0E0E4736-" + parent64 + "-01"}},
		"W3C, no hexadecimal":             {came: header{"traceparent": "00-4bf92f3577b34da6a3ce929d0e0e473g-" + parent64 + "-01"}},
		"W3C, no trace":                   {came: header{"traceparent": "00-00000000000000000000000000000000-" + parent64 + "-01"}},
		"W3C, no parent":                  {came: header{"traceparent": "00-" + trace128 + "-0000000000000000-01"}},
		"W3C, other separators":           {came: header{"traceparent": "00_" + trace128 + "_" + parent64 + "_01"}},
		"W3C wrong, its state is dropped": {came: header{"traceparent": "?", "tracestate": "a=b"}, share: million, want: header{"traceparent": begun["traceparent"], "tracestate": ""}},

		"B3 in one":                     {came: header{"b3": trace128 + "-" + parent64 + "-1"}, want: header{"b3": trace128 + "-" + first64 + "-1-" + parent64}},
		"B3 in one with a parent":       {came: header{"b3": trace128 + "-" + parent64 + "-1-" + other64}, want: header{"b3": trace128 + "-" + first64 + "-1-" + parent64}},
		"B3 in one, 64 bits":            {came: header{"b3": trace64 + "-" + parent64 + "-1"}, want: header{"b3": trace64 + "-" + first64 + "-1-" + parent64}},
		"B3 in one, debug":              {came: header{"b3": trace128 + "-" + parent64 + "-d"}, want: header{"b3": trace128 + "-" + first64 + "-d-" + parent64}},
		"B3 in one, denied":             {came: header{"b3": trace128 + "-" + parent64 + "-0"}, share: million},
		"B3 in one, denied without one": {came: header{"b3": "0"}, share: million},
		"B3 in one, accepted without":   {came: header{"b3": "1"}, want: header{"b3": first128 + "-" + third64 + "-1"}},
		"B3 in one, debug without":      {came: header{"b3": "d"}, want: header{"b3": first128 + "-" + third64 + "-d"}},
		"B3 in one, left to us, no":     {came: header{"b3": trace128 + "-" + parent64}},
		"B3 in one, left to us, yes":    {came: header{"b3": trace128 + "-" + parent64}, share: million, want: header{"b3": trace128 + "-" + first64 + "-1-" + parent64}},
		"B3 in one, wrong decision":     {came: header{"b3": trace128 + "-" + parent64 + "-7"}},
		"B3 in one, wrong parent":       {came: header{"b3": trace128 + "-" + parent64 + "-1-7"}},
		"B3 in one, no span":            {came: header{"b3": trace128 + "-1"}},
		"B3 in one, no trace":           {came: header{"b3": "-" + parent64 + "-1"}},
		"B3 in one, zeros":              {came: header{"b3": "0000000000000000-" + parent64 + "-1"}},
		"B3 in one, empty":              {came: header{"b3": ""}},

		"B3 in many": {
			came: header{"x-b3-traceid": trace128, "x-b3-spanid": parent64, "x-b3-sampled": "1"},
			want: header{"x-b3-traceid": trace128, "x-b3-spanid": first64, "x-b3-parentspanid": parent64, "x-b3-sampled": "1"},
		},
		"B3 in many, 64 bits, upper case": {
			came: header{"x-b3-traceid": "A3CE929D0E0E4736", "x-b3-spanid": parent64, "x-b3-sampled": "true", "x-b3-parentspanid": other64},
			want: header{"x-b3-traceid": trace64, "x-b3-spanid": first64, "x-b3-parentspanid": parent64, "x-b3-sampled": "1"},
		},
		"B3 in many, debug": {
			came: header{"x-b3-traceid": trace128, "x-b3-spanid": parent64, "x-b3-flags": "1"},
			want: header{"x-b3-traceid": trace128, "x-b3-spanid": first64, "x-b3-parentspanid": parent64},
		},
		"B3 in many, denied":              {came: header{"x-b3-traceid": trace128, "x-b3-spanid": parent64, "x-b3-sampled": "0"}, share: million},
		"B3 in many, denied without":      {came: header{"x-b3-sampled": "false"}, share: million},
		"B3 in many, left to us":          {came: header{"x-b3-traceid": trace128, "x-b3-spanid": parent64}},
		"B3 in many, no span":             {came: header{"x-b3-traceid": trace128, "x-b3-sampled": "1"}},
		"B3 in many, accepted without":    {came: header{"x-b3-sampled": "1"}, want: begunB3},
		"B3 in many, a decision too many": {came: header{"x-b3-sampled": "perhaps"}},

		"two families of one trace": {
			came: header{"traceparent": w3c, "b3": trace128 + "-" + other64 + "-1"},
			want: header{"traceparent": ours, "b3": trace128 + "-" + first64 + "-1-" + parent64},
		},
		"two families of two traces": {
			came: header{"traceparent": w3c, "b3": trace64 + "-" + other64 + "-1"},
			want: header{"traceparent": ours},
		},
		"one family wrong": {
			came: header{"traceparent": "?", "b3": trace64 + "-" + parent64 + "-1"},
			want: header{"b3": trace64 + "-" + first64 + "-1-" + parent64},
		},
	} {
		t.Run(name, func(t *testing.T) {
			n := uint64(0)
			o, _ := observer(t, Options{Random: func() uint64 {
				n++
				return n
			}})
			settings := tracing("http://127.0.0.1:9/", ir.OTLP, c.share)
			settings.Tracing.Propagation = c.propagation
			o.Configure(settings)
			if c.share > 0 && c.want != nil {
				n = ^uint64(0) // the draw takes a number too
			}
			span := o.Begin(c.came)
			if (span != nil) != (c.want != nil) {
				t.Fatalf("span %v, want one: %v", span, c.want != nil)
			}
			got := header{}
			span.Propagate(func(name, value string) { got[name] = value })
			if diff := cmp.Diff(c.want, got, cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("passed on (-want +got):\n%s", diff)
			}
		})
	}
}

// FuzzExtract: whatever comes, what goes on is understood by ourselves as the same trace with our span.
func FuzzExtract(f *testing.F) {
	f.Add("00-"+trace128+"-"+parent64+"-01", "", "", "", "", "")
	f.Add("", trace128+"-"+parent64+"-1-"+other64, "", "", "", "")
	f.Add("", "", trace64, parent64, "1", "")
	f.Add("00-"+trace128+"-"+parent64+"-00", trace128+"-"+parent64, trace128, parent64, "", "1")
	f.Fuzz(func(t *testing.T, traceparent, b3, trace, span, sampled, flags string) {
		came := header{}
		for name, value := range map[string]string{
			"traceparent": traceparent, "b3": b3, "x-b3-traceid": trace, "x-b3-spanid": span, "x-b3-sampled": sampled, "x-b3-flags": flags,
		} {
			if value != "" {
				came[name] = value
			}
		}
		s := extract(came)
		if s.trace == (traceID{}) || s.decision == denied {
			return
		}
		if s.families == 0 || s.parent == (spanID{}) {
			t.Fatalf("a trace from nowhere: %+v", s)
		}
		s.id = spanID{1}
		s.Propagate(func(name, value string) { came[name] = value })
		again := extract(came)
		if again.trace != s.trace || again.parent != s.id || again.decision != accepted || again.families != s.families {
			t.Fatalf("%+v went on as %+v: %q", s, again, came)
		}
	})
}
