package cli

import (
	"fmt"
	"io"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/sluice-mesh/sluice/api/v1alpha1"
)

const barWidth = 40

// tree shows one Rollout with everything that its status says.
func tree(w io.Writer, r *v1alpha1.Rollout, now time.Time, s style) {
	out := &branches{Writer: w, style: s}
	fmt.Fprintf(w, "%s  %s%s\n", s.paint(bold, r.Namespace+"/"+r.Name), s.paint(phaseColour(r), phase(r)), s.paint(faint, releaseLine(r, now)))
	if r.Status.Message != "" {
		fmt.Fprintf(w, "%s\n", plain(r.Status.Message))
	}
	if c := meta.FindStatusCondition(r.Status.Conditions, v1alpha1.ConditionStalled); c != nil && c.Status == "True" && c.Message != r.Status.Message {
		fmt.Fprintf(w, "%s %s\n", s.paint(red, "stalled:"), plain(c.Message))
	}
	if p := r.Status.Paused; p != nil {
		fmt.Fprintf(w, "%s by %s, %s ago\n", s.paint(yellow, "paused"), plain(p.By), age(p.Since.Time, now))
	}
	out.weight(r)
	out.steps(r, now)
	out.revisions(r)
	out.verdicts(r, now)
	out.analyses(r)
	out.lagging(r)
	if last := r.Status.LastCommand; last != nil {
		out.title("Last order")
		answer := s.paint(green, dash(plain(last.Message)))
		if !last.Accepted {
			answer = s.paint(red, dash(plain(last.Message)))
		}
		out.line("%s by %s, %s ago: %s", last.Verb, dash(plain(last.By)), age(last.At.Time, now), answer)
	}
}

func after(separator, text string) string {
	if text == "" {
		return ""
	}
	return separator + text
}

func phaseColour(r *v1alpha1.Rollout) colour {
	if meta.IsStatusConditionTrue(r.Status.Conditions, v1alpha1.ConditionStalled) {
		return red
	}
	switch r.Status.Phase {
	case v1alpha1.PhaseHealthy:
		return green
	case v1alpha1.PhaseRollingBack, v1alpha1.PhaseRolledBack:
		return red
	case v1alpha1.PhaseStarting, v1alpha1.PhaseProgressing, v1alpha1.PhaseBaking, v1alpha1.PhasePromoting:
		return blue
	}
	return yellow
}

func releaseLine(r *v1alpha1.Rollout, now time.Time) string {
	release := r.Status.Release
	if release == nil {
		return ""
	}
	line := fmt.Sprintf("  release %s", release.ID)
	switch {
	case release.EndedAt != nil:
		took := age(release.StartedAt.Time, release.EndedAt.Time)
		line += fmt.Sprintf(", %s %s ago after %s", strings.ToLower(spaced(release.Outcome)), age(release.EndedAt.Time, now), took)
	default:
		line += fmt.Sprintf(", %s so far", age(release.StartedAt.Time, now))
	}
	if release.ExpeditedBy != "" {
		line += ", expedited by " + plain(release.ExpeditedBy)
	}
	return line
}

// spaced turns RolledBack into "Rolled Back".
func spaced(name string) string {
	var b strings.Builder
	for i, r := range name {
		if i > 0 && r >= 'A' && r <= 'Z' {
			b.WriteByte(' ')
		}
		b.WriteRune(r)
	}
	return b.String()
}

// branches writes titles and what is below them.
type branches struct {
	io.Writer
	style style
}

func (b *branches) title(text string) { fmt.Fprintf(b, "\n%s\n", b.style.paint(bold, text)) }

func (b *branches) line(format string, args ...any) { fmt.Fprintf(b, "  "+format+"\n", args...) }

// weight draws the share in force as full blocks and what is asked beyond it as light ones.
func (b *branches) weight(r *v1alpha1.Rollout) {
	b.title("Weight")
	w := r.Status.Weight
	live, desired := cells(w.Live), cells(w.Desired)
	bar := b.style.paint(blue, strings.Repeat("█", min(live, desired)))
	switch {
	case desired > live:
		bar += strings.Repeat("▒", desired-live)
	case live > desired:
		bar += b.style.paint(yellow, strings.Repeat("▓", live-desired))
	}
	bar += b.style.paint(faint, strings.Repeat("░", barWidth-max(live, desired)))
	text := fmt.Sprintf("canary %d%%", w.Live)
	if w.Live != w.Desired {
		text += fmt.Sprintf(", asked for %d%%", w.Desired)
	}
	if w.Baseline > 0 {
		text += fmt.Sprintf(", baseline %d%%", w.Baseline)
	}
	b.line("%s %s", bar, text)
}

func cells(percent int32) int {
	return min(barWidth, max(0, (int(percent)*barWidth+50)/100))
}

// steps lists the steps with the present one marked.
func (b *branches) steps(r *v1alpha1.Rollout, now time.Time) {
	b.title("Steps")
	present := int32(-1)
	if r.Status.Step != nil {
		present = r.Status.Step.Index
	}
	ended := r.Status.Phase == v1alpha1.PhaseRolledBack || r.Status.Phase == v1alpha1.PhaseRollingBack
	for i, s := range r.Spec.Canary.Steps {
		mark, name, since := " ", stepName(s), ""
		switch i := int32(i); { //nolint:gosec // at most 50
		case i < present:
			mark = b.style.paint(green, "✔")
		case i == present && ended:
			mark = b.style.paint(red, "✘")
		case i == present:
			mark, name = b.style.paint(blue, "▶"), b.style.paint(bold, name)
			if r.Status.Step.Since != nil {
				since = ", for " + age(r.Status.Step.Since.Time, now)
			}
			if r.Status.Step.ApprovedBy != "" {
				since += ", approved by " + plain(r.Status.Step.ApprovedBy)
			}
			if r.Status.Step.InconclusiveSince != nil {
				since += ", " + b.style.paint(yellow, "inconclusive")
			}
		}
		b.line("%s %2d  %s%s", mark, i+1, name, since)
	}
}

func stepName(s v1alpha1.Step) string {
	switch {
	case s.SetWeight != nil:
		return fmt.Sprintf("weight %d%%", *s.SetWeight)
	case s.Pause != nil && s.Pause.Duration != nil:
		return "pause " + short(s.Pause.Duration.Duration)
	case s.Pause != nil:
		return "pause until resumed"
	case s.Analysis != nil:
		name, with := "analysis", " with "
		if s.Analysis.Duration != nil {
			name += " " + short(s.Analysis.Duration.Duration)
		}
		for _, template := range s.Analysis.Templates {
			name, with = name+with+plain(template.Name), ", "
		}
		return name
	case s.Approval != nil && s.Approval.Message != "":
		return "approval: " + plain(s.Approval.Message)
	case s.Approval != nil:
		return "approval"
	}
	return "a step of a newer version"
}

// short drops the zeros that Go writes behind whole minutes and hours.
func short(d time.Duration) string {
	text := d.String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}

func (b *branches) revisions(r *v1alpha1.Rollout) {
	b.title("Revisions")
	if r.Status.Stable == nil && r.Status.Canary == nil {
		b.line("none is known yet")
	}
	for _, row := range []struct {
		name     string
		revision *v1alpha1.Revision
	}{{"stable", r.Status.Stable}, {"canary", r.Status.Canary}, {"baseline", r.Status.Baseline}} {
		v := row.revision
		if v == nil {
			continue
		}
		pods := fmt.Sprintf("%d/%d pods ready", v.Ready, v.Replicas)
		if v.Ready < v.Replicas {
			pods = b.style.paint(yellow, pods)
		}
		b.line("%s  %-12s %s  %s", row.name, dash(v.Hash), pods, strings.Join(v.Images, ", "))
	}
}

func (b *branches) verdicts(r *v1alpha1.Rollout, now time.Time) {
	if len(r.Status.Verdicts) == 0 {
		return
	}
	b.title("Verdicts")
	for i, v := range r.Status.Verdicts {
		c, score := yellow, ""
		if v.Score != nil {
			score = fmt.Sprintf(", score %d", *v.Score)
		}
		switch v.Outcome {
		case v1alpha1.VerdictPass:
			c = green
		case v1alpha1.VerdictFail:
			c = red
		}
		b.line("%s at %d%%%s, %s ago: %s", b.style.paint(c, fmt.Sprintf("%-12s", v.Outcome)), v.Weight, score, age(v.At.Time, now), plain(v.Reason))
		if i == 0 { // how those before came about is in the status
			for _, m := range v.Metrics {
				b.line("  %s", b.style.paint(faint, metricLine(m)))
			}
		}
	}
}

// metricLine is what one metric adds to a verdict: bad requests of each, their ratio with its limits, and how
// sure that is.
func metricLine(m v1alpha1.MetricVerdict) string {
	line := fmt.Sprintf("%-12s  %s against %s bad", plain(m.Name), dash(plain(m.Canary)), dash(plain(m.Control)))
	if m.Ratio != "" {
		line += fmt.Sprintf(", %s times (%s to %s)", plain(m.Ratio), dash(plain(m.Low)), dash(plain(m.High)))
	}
	line += after(", p ", plain(m.P))
	if m.Score != nil {
		line += fmt.Sprintf(", score %d", *m.Score)
	}
	if m.Critical {
		line += ", critical"
	}
	return line
}

// analyses lists the runs of analysis templates.
func (b *branches) analyses(r *v1alpha1.Rollout) {
	if len(r.Status.Analyses) == 0 {
		return
	}
	b.title("Analyses")
	for _, a := range r.Status.Analyses {
		c := yellow
		switch a.Phase {
		case v1alpha1.RunSuccessful:
			c = green
		case v1alpha1.RunFailed, v1alpha1.RunError:
			c = red
		case v1alpha1.RunPending, v1alpha1.RunRunning:
			c = blue
		}
		b.line("%s  %-16s %s%s", b.style.paint(c, fmt.Sprintf("%-12s", a.Phase)), plain(a.Stage), dash(plain(a.Run)), after(": ", plain(a.Message)))
	}
}

func (b *branches) lagging(r *v1alpha1.Rollout) {
	if len(r.Status.Weight.Lagging) == 0 {
		return
	}
	b.title("Proxies that have not acknowledged the weight")
	for _, node := range r.Status.Weight.Lagging {
		b.line("%s", b.style.paint(yellow, plain(node)))
	}
}
