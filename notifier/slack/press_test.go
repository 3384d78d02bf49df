package slack_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sluice-mesh/sluice/notifier"
	"github.com/sluice-mesh/sluice/notifier/slack/slackfake"
)

const (
	approve = "sluice-approve"
	reject  = "sluice-reject"
)

// asking is a workspace in which a release waits for approval, and somebody listens.
func asking(t *testing.T) (*workspace, *leader, *story) {
	t.Helper()
	w := newWorkspace(t, slackfake.Options{})
	w.panel.approvers = []string{"U0JANE", "W0BOSS"}
	l := w.lead(t)
	s := &story{}
	l.tell(s.event(notifier.KindStarted, "starts", 0, 0), s.event(notifier.KindApprovalNeeded, "look at the dashboard", 25, 25))
	w.await(t, "buttons and a socket", func() bool {
		return len(w.Messages()) == 3 && len(w.Posts()[0].Buttons()) == 2 && w.Sockets() == 1
	})
	return w, l, s
}

func (w *workspace) press(t *testing.T, press slackfake.Press) {
	t.Helper()
	post := w.Posts()[0]
	press.Channel, press.TS = post.Channel, post.TS
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if _, err := w.Press(ctx, press); err != nil { // fails when it is not acknowledged within 3 s
		t.Fatal(err)
	}
}

// answer returns the one thing that the person who pressed is told.
func (w *workspace) answer(t *testing.T, user string, count int) string {
	t.Helper()
	w.await(t, "an answer", func() bool { return len(w.Ephemerals()) == count })
	last := w.Ephemerals()[count-1]
	if last.Only != user {
		t.Errorf("the answer went to %s, not %s", last.Only, user)
	}
	return last.Text
}

func TestApprove(t *testing.T) {
	w, l, s := asking(t)
	w.press(t, slackfake.Press{User: "U0JANE", Name: "jane", ActionID: approve})
	if got, want := w.answer(t, "U0JANE", 1), ":thumbsup: Your approval of *shop/cart* is recorded."; got != want {
		t.Errorf("answer %q, want %q", got, want)
	}
	want := []notifier.Decision{{Namespace: "shop", Rollout: "cart", Release: "r1", StepIndex: 1, Approve: true, By: "slack:U0JANE (jane)"}}
	if diff := cmp.Diff(want, w.panel.taken()); diff != "" {
		t.Error(diff)
	}
	l.tell(s.event(notifier.KindApproved, "approved by slack:U0JANE (jane)", 25, 25))
	w.await(t, "the approval in the thread", func() bool { return len(w.Messages()) == 4 })
	if buttons := w.Posts()[0].Buttons(); len(buttons) != 0 {
		t.Errorf("buttons are still there: %+v", buttons)
	}
}

func TestReject(t *testing.T) {
	w, _, _ := asking(t)
	w.press(t, slackfake.Press{User: "W0BOSS", Name: "boss", ActionID: reject})
	if got := w.answer(t, "W0BOSS", 1); !strings.Contains(got, "rejection of *shop/cart* is recorded") {
		t.Errorf("answer %q", got)
	}
	want := []notifier.Decision{{Namespace: "shop", Rollout: "cart", Release: "r1", StepIndex: 1, By: "slack:W0BOSS (boss)"}}
	if diff := cmp.Diff(want, w.panel.taken()); diff != "" {
		t.Error(diff)
	}
}

func TestOthersAreToldWhoMay(t *testing.T) {
	w, _, _ := asking(t)
	w.press(t, slackfake.Press{User: "U0MALLORY", Name: "U0JANE", ActionID: approve})
	if got, want := w.answer(t, "U0MALLORY", 1), ":no_entry: Only <@U0JANE> and <@W0BOSS> may decide about *shop/cart*."; got != want {
		t.Errorf("answer %q, want %q", got, want)
	}
	w.panel.mu.Lock()
	w.panel.approvers = nil
	w.panel.mu.Unlock()
	w.press(t, slackfake.Press{User: "U0JANE", Name: "jane", ActionID: reject})
	if got := w.answer(t, "U0JANE", 2); !strings.Contains(got, "Nobody may decide") {
		t.Errorf("answer %q", got)
	}
	if got := w.panel.taken(); len(got) != 0 {
		t.Errorf("decided: %+v", got)
	}
	if got := len(w.Messages()); got != 3 {
		t.Errorf("%d messages, want 3: a refusal is told to one person only", got)
	}
}

func TestDecisionThatDoesNotApply(t *testing.T) {
	w, _, _ := asking(t)
	w.panel.err = notifier.Refuse("The release is over: <rolled back>.")
	w.press(t, slackfake.Press{User: "U0JANE", Name: "jane", ActionID: approve})
	if got, want := w.answer(t, "U0JANE", 1), ":information_source: The release is over: &lt;rolled back&gt;."; got != want {
		t.Errorf("answer %q, want %q", got, want)
	}
	w.panel.mu.Lock()
	w.panel.err = errors.New("update rollout: conflict on 10.0.0.7")
	w.panel.mu.Unlock()
	w.press(t, slackfake.Press{User: "U0JANE", Name: "jane", ActionID: approve})
	if got := w.answer(t, "U0JANE", 2); !strings.Contains(got, "could not be recorded") || strings.Contains(got, "10.0.0.7") {
		t.Errorf("answer %q", got)
	}
}

func TestForgedValueDecidesNothing(t *testing.T) {
	w, _, _ := asking(t)
	for i, value := range []string{`{"namespace":"shop"}`, "null", "x", `{"stepIndex":99999999999,"namespace":"a","rollout":"b","release":"c"}`} {
		w.press(t, slackfake.Press{User: "U0JANE", Name: "jane", ActionID: approve, Value: value})
		if got := w.answer(t, "U0JANE", i+1); !strings.Contains(got, "cannot be read") {
			t.Errorf("%s: answer %q", value, got)
		}
	}
	if got := w.panel.taken(); len(got) != 0 {
		t.Errorf("decided: %+v", got)
	}
}

func TestAcknowledgedBeforeDecided(t *testing.T) {
	w, _, _ := asking(t)
	w.panel.block = make(chan struct{})
	w.press(t, slackfake.Press{User: "U0JANE", Name: "jane", ActionID: approve}) // returns when acknowledged
	if got := w.panel.taken(); len(got) != 0 {
		t.Fatalf("decided: %+v", got)
	}
	close(w.panel.block)
	w.answer(t, "U0JANE", 1)
	if got := len(w.panel.taken()); got != 1 {
		t.Errorf("%d decisions, want one", got)
	}
}

func TestRepeatedEnvelopeDecidesOnce(t *testing.T) {
	w, _, _ := asking(t)
	w.press(t, slackfake.Press{User: "U0JANE", Name: "jane", ActionID: approve, Twice: true})
	w.press(t, slackfake.Press{User: "U0JANE", Name: "jane", ActionID: reject}) // comes after the repeat
	w.answer(t, "U0JANE", 2)
	if got := len(w.panel.taken()); got != 2 {
		t.Errorf("%d decisions, want one approval and one rejection", got)
	}
}

func TestAnswerOutlastsRateLimit(t *testing.T) {
	w, _, _ := asking(t)
	w.RateLimit("chat.postEphemeral", 1, time.Second)
	w.press(t, slackfake.Press{User: "U0JANE", Name: "jane", ActionID: approve})
	w.answer(t, "U0JANE", 1)
}

func TestReconnects(t *testing.T) {
	for name, cut := range map[string]func(*slackfake.Server){
		"when Slack asks for it": (*slackfake.Server).Disconnect,
		"when the line is cut":   (*slackfake.Server).Drop,
		"after an outage": func(s *slackfake.Server) {
			s.SetOutage(slackfake.Unavailable)
			s.SetOutage(slackfake.Up)
		},
	} {
		t.Run(name, func(t *testing.T) {
			w, _, _ := asking(t)
			opened := func() (count int) {
				for _, call := range w.Calls() {
					if call.Method == "apps.connections.open" && call.Answer == "ok" {
						count++
					}
				}
				return count
			}
			before := opened()
			cut(w.Server)
			w.await(t, "another connection", func() bool { return opened() > before && w.Sockets() == 1 })
			w.press(t, slackfake.Press{User: "U0JANE", Name: "jane", ActionID: approve})
			w.answer(t, "U0JANE", 1)
		})
	}
}

func TestConnectionRateLimitIsHonoured(t *testing.T) {
	w := newWorkspace(t, slackfake.Options{})
	w.RateLimit("apps.connections.open", 1, time.Second)
	w.lead(t)
	w.await(t, "a socket", func() bool { return w.Sockets() == 1 })
	calls := w.Calls()
	if len(calls) != 2 || calls[0].Answer != "429" || calls[1].At.Sub(calls[0].At) < 900*time.Millisecond {
		t.Errorf("calls: %+v, want a second one a second after the refused", calls)
	}
}

// Buttons stay while the release waits and only more is told about it, and go with anything else.
func TestButtonsStayWhileTheReleaseWaits(t *testing.T) {
	w, l, s := asking(t)
	messages := 3
	for _, step := range []struct {
		kind, phase string
		index       int32
		buttons     int
	}{
		{notifier.KindVerdict, "Progressing", 1, 2},
		{notifier.KindLagging, "Progressing", 1, 2},
		{notifier.KindPaused, "Progressing", 1, 2},
		{notifier.KindVerdict, "RollingBack", 1, 0},
		{notifier.KindVerdict, "Progressing", 1, 0},
		{notifier.KindApprovalNeeded, "Progressing", 3, 2},
		{notifier.KindVerdict, "Progressing", 2, 0},
	} {
		event := s.event(step.kind, "more", 25, 25)
		event.Phase, event.StepIndex = step.phase, step.index
		l.tell(event)
		messages++
		w.await(t, "the event", func() bool { return len(w.Messages()) == messages })
		if got := len(w.Posts()[0].Buttons()); got != step.buttons {
			t.Errorf("after %s at step %d in %s: %d buttons, want %d", step.kind, step.index, step.phase, got, step.buttons)
		}
	}
}
