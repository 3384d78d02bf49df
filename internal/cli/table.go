package cli

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/util/duration"

	"github.com/sluice-mesh/sluice/api/v1alpha1"
)

// table lists Rollouts, one a line.
func table(w io.Writer, rollouts []v1alpha1.Rollout, now time.Time, wide, namespaces bool) error {
	tabs := tabwriter.NewWriter(w, 0, 0, 3, ' ', 0)
	header := []string{"NAME", "PHASE", "STEP", "WEIGHT", "READY", "AGE"}
	if wide {
		header = append(header, "STABLE", "CANARY")
	}
	header = append(header, "MESSAGE")
	if namespaces {
		header = append([]string{"NAMESPACE"}, header...)
	}
	fmt.Fprintln(tabs, strings.Join(header, "\t"))
	for i := range rollouts {
		r := &rollouts[i]
		row := []string{r.Name, phase(r), step(r), weights(r.Status.Weight), ready(r), age(r.CreationTimestamp.Time, now)}
		if wide {
			row = append(row, images(r.Status.Stable), images(r.Status.Canary))
		}
		row = append(row, dash(plain(r.Status.Message)))
		if namespaces {
			row = append([]string{r.Namespace}, row...)
		}
		fmt.Fprintln(tabs, strings.Join(row, "\t"))
	}
	return tabs.Flush()
}

func phase(r *v1alpha1.Rollout) string {
	if r.Status.Phase == "" {
		return "Unknown" // no operator has seen it yet
	}
	return string(r.Status.Phase)
}

func step(r *v1alpha1.Rollout) string {
	if r.Status.Step == nil {
		return "-"
	}
	return r.Status.Step.Display
}

// weights shows the weight in force, and the one that is asked where that is another.
func weights(w v1alpha1.WeightStatus) string {
	if w.Desired == w.Live {
		return fmt.Sprintf("%d%%", w.Live)
	}
	return fmt.Sprintf("%d%%→%d%%", w.Live, w.Desired)
}

func ready(r *v1alpha1.Rollout) string {
	if c := meta.FindStatusCondition(r.Status.Conditions, v1alpha1.ConditionReady); c != nil {
		return string(c.Status)
	}
	return "Unknown"
}

func images(r *v1alpha1.Revision) string {
	if r == nil {
		return "-"
	}
	return dash(strings.Join(r.Images, ","))
}

// plain takes out what would move a terminal's cursor or change its colours: texts come from people and
// from proxies.
func plain(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, text)
}

func dash(text string) string {
	if text == "" {
		return "-"
	}
	return text
}

func age(since, now time.Time) string {
	if since.IsZero() {
		return "-"
	}
	return duration.HumanDuration(max(0, now.Sub(since)))
}
