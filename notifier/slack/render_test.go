package slack_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sluice-mesh/sluice/notifier"
	"github.com/sluice-mesh/sluice/notifier/slack/slackfake"
)

var update = flag.Bool("update", false, "write the golden files")

// The golden files can be pasted into Slack's Block Kit Builder.
func TestGolden(t *testing.T) {
	for name, change := range map[string]func(*notifier.Event){
		"progressing": func(e *notifier.Event) { e.Live = 10 },
		"approval": func(e *notifier.Event) {
			e.Kind, e.Reason = notifier.KindApprovalNeeded, "Look at the dashboard before half of the users get it"
		},
		"rolled-back": func(e *notifier.Event) {
			e.Kind, e.Phase, e.Final, e.Desired, e.Live = notifier.KindRolledBack, "RolledBack", true, 0, 0
			e.Reason, e.Verdict = "v2 failed at 25 %", "error rate 4.1 % against 0.2 %, p < 0.001"
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorkspace(t, slackfake.Options{})
			l := w.lead(t)
			var s story
			event := s.event(notifier.KindWeight, "25 % asked", 25, 25)
			event.Verdict = "no worse than stable: error rate 0.2 % against 0.2 %"
			change(&event)
			if err := l.bot.To(notifier.Target{Address: "C0123456789"}).Notify(t.Context(), event); err != nil {
				t.Fatal(err)
			}
			post := w.Posts()[0]
			raw, err := json.Marshal(map[string]any{"text": post.Text, "blocks": post.Blocks, "attachments": post.Attachments})
			if err != nil {
				t.Fatal(err)
			}
			var got bytes.Buffer
			if err := json.Indent(&got, raw, "", "  "); err != nil {
				t.Fatal(err)
			}
			got.WriteByte('\n')
			path := filepath.Join("testdata", name+".json")
			if *update {
				if err := os.WriteFile(path, got.Bytes(), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got.String()); diff != "" {
				t.Errorf("run with -update when this is meant: %s", diff)
			}
		})
	}
}
