package admin

import (
	"bytes"
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	dto "github.com/prometheus/client_model/go"

	"github.com/sluice-mesh/sluice/mesh/ir"
	"github.com/sluice-mesh/sluice/mesh/proxy/table"
)

// page is plain text with aligned columns: html/template would cost every proxy half a megabyte once somebody
// has looked, and text is as good to read in a browser, in a terminal and in a bug report.
type page struct {
	bytes.Buffer
	now time.Time
}

func (s *Sources) page() []byte {
	p, c := &page{now: s.Now()}, s.config()
	started, state := s.Startup()
	if started && s.Draining() {
		state += ", draining"
	}
	p.columns(func(row func(cells ...any)) {
		row("sluice-proxy", s.Version+": "+state)
		configuration := "none yet"
		if c.Applied != nil {
			configuration = cmp.Or(c.Version, "?") + ", in force since " + p.since(*c.Applied)
		}
		row("configuration", configuration)
		if c.Control != nil {
			for i, line := range controlLines(*c.Control) {
				row(at(i, "control plane"), line)
			}
		}
		if c.Settings != nil {
			row("access log", accessLogWords(c.Settings.AccessLog))
			row("tracing", tracingWords(c.Settings.Tracing))
		}
	})
	for _, service := range c.Services {
		p.service(service)
	}
	p.numbers(s)
	return p.Bytes()
}

// at is the text in the first line, and nothing below it.
func at(i int, text string) string {
	if i > 0 {
		return ""
	}
	return text
}

// columns writes aligned rows.
func (p *page) columns(rows func(row func(cells ...any))) {
	w := tabwriter.NewWriter(p, 0, 0, 2, ' ', 0)
	rows(func(cells ...any) {
		for i, cell := range cells {
			if i > 0 {
				fmt.Fprint(w, "\t")
			}
			fmt.Fprint(w, cell)
		}
		fmt.Fprintln(w)
	})
	_ = w.Flush() // into memory
}

func (p *page) since(t time.Time) string {
	return fmt.Sprintf("%s (%s)", t.UTC().Format(time.RFC3339), p.age(t))
}

func (p *page) age(t time.Time) string {
	age := max(p.now.Sub(t).Truncate(time.Second), 0)
	if days := age / (24 * time.Hour); days > 1 {
		return fmt.Sprintf("%d days ago", days)
	}
	return age.String() + " ago"
}

func controlLines(c Control) []string {
	state := "not connected to " + c.Address + ": what was in force last stays"
	if c.Connected {
		state = "connected to " + c.Address
	}
	lines := []string{
		state,
		fmt.Sprintf("%d names asked for, %d of them lead nowhere or are not answered yet", c.Names, c.Idle),
	}
	if c.Rejections > 0 {
		lines = append(lines, fmt.Sprintf("%d configurations rejected since the start", c.Rejections))
	}
	if c.Rejected != "" {
		lines = append(lines, "REJECTED, the one before stays in force: "+c.Rejected)
	}
	return lines
}

func accessLogWords(l ir.AccessLog) string {
	var words []string
	if l.Share > 0 {
		words = append(words, percent(l.Share)+" of the requests")
	}
	if l.Errors {
		words = append(words, "errors")
	}
	if l.Slow > 0 {
		words = append(words, fmt.Sprintf("requests of %s and more", l.Slow))
	}
	return cmp.Or(strings.Join(words, ", "), "off")
}

func tracingWords(t ir.Tracing) string {
	if t.Endpoint == "" {
		return "off"
	}
	return fmt.Sprintf("%s of the requests begin a trace (%s), spans go to %s as %s",
		percent(t.Share), cmp.Or(string(t.Propagation), "w3c"), t.Endpoint, cmp.Or(string(t.Format), "otlp"))
}

func percent(share uint32) string { return fmt.Sprintf("%g %%", float64(share)*100/ir.Million) }

func (p *page) service(s table.ServiceDump) {
	fmt.Fprintf(p, "\n%s/%s", s.Namespace, s.Name)
	for _, address := range s.Addresses {
		fmt.Fprint(p, " ", address)
	}
	fmt.Fprintf(p, "\n  %d in flight", s.InFlight)
	if s.Repeating > 0 {
		fmt.Fprintf(p, ", %d of them repetitions", s.Repeating)
	}
	if !s.Used.IsZero() {
		fmt.Fprintf(p, ", last used %s", p.age(s.Used))
	}
	fmt.Fprintln(p)
	for _, port := range s.Ports {
		fmt.Fprintln(p, strings.TrimRight(fmt.Sprintf("  port %d %s %s", port.Number, port.Protocol, port.Name), " "))
	}
	p.split(s.Split)
	for _, r := range s.Routes {
		p.route(r)
	}
	p.endpoints(s.Endpoints)
}

func (p *page) split(s table.SplitDump) {
	if len(s.Shares) == 0 {
		fmt.Fprint(p, "  no release: requests go to all endpoints alike\n")
		return
	}
	fmt.Fprint(p, "  split")
	for _, revision := range slices.Sorted(maps.Keys(s.Shares)) {
		role := ""
		switch revision {
		case s.Stable:
			role = "stable "
		case s.Canary:
			role = "canary "
		case s.Baseline:
			role = "baseline "
		}
		fmt.Fprintf(p, " %s%s %d %%", role, cmp.Or(revision, "(none)"), s.Shares[revision])
	}
	fmt.Fprintf(p, ", epoch %d, since %s\n", s.Epoch, p.since(s.Since))
}

func (p *page) route(r table.RouteDump) {
	fmt.Fprintf(p, "  route %s: %d requests\n", r.Name, r.Requests)
	if len(r.Ports) > 0 {
		fmt.Fprintf(p, "    on ports %v\n", r.Ports)
	}
	for i, m := range r.Matches {
		word := "when"
		if i > 0 {
			word = "or"
		}
		fmt.Fprintf(p, "    %s %s\n", word, m)
	}
	for _, action := range r.Actions {
		fmt.Fprintf(p, "    then %s\n", action)
	}
}

func (p *page) endpoints(by map[string]table.EndpointsDump) {
	if len(by) == 0 {
		fmt.Fprint(p, "  no endpoints\n")
		return
	}
	p.columns(func(row func(cells ...any)) {
		row("  REVISION", "ENDPOINT", "ZONE", "STATE", "IN FLIGHT", "REQUESTS", "FAILURES", "CONNECTIONS")
		for _, revision := range slices.Sorted(maps.Keys(by)) {
			name := "  " + cmp.Or(revision, "-")
			for _, e := range by[revision].Each {
				row(name, e.Address, cmp.Or(e.Zone, "-"), p.state(e), e.InFlight, e.Requests, e.Failures, e.Connections)
			}
			if len(by[revision].Each) == 0 {
				row(name, "none", "-", "-", "-", "-", "-", "-")
			}
		}
	})
}

func (p *page) state(e table.EndpointDump) string {
	switch {
	case e.Draining:
		return "draining"
	case e.Ejected != nil:
		return "ejected for " + max(e.Ejected.Sub(p.now).Truncate(time.Second), 0).String()
	}
	return "ready"
}

// numbers shows the proxy's own among the metrics.
func (p *page) numbers(s *Sources) {
	families, err := s.Metrics.Gather()
	if err != nil {
		fmt.Fprintf(p, "\nmetrics are not complete: %v\n", err)
	}
	fmt.Fprintln(p)
	p.columns(func(row func(cells ...any)) {
		for _, family := range families {
			if !strings.HasPrefix(family.GetName(), "sluice_proxy_") {
				continue
			}
			for _, m := range family.GetMetric() {
				name := family.GetName()
				for _, label := range m.GetLabel() {
					name += " " + label.GetName() + "=" + label.GetValue()
				}
				if value, is := valueOf(m); is {
					row(name, value)
				}
			}
		}
	})
}

// valueOf is a counter's or a gauge's.
func valueOf(m *dto.Metric) (string, bool) {
	switch {
	case m.GetCounter() != nil:
		return fmt.Sprintf("%.0f", m.GetCounter().GetValue()), true
	case m.GetGauge() != nil:
		return fmt.Sprintf("%.0f", m.GetGauge().GetValue()), true
	}
	return "", false
}
