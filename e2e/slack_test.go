package e2e

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/sluice-mesh/sluice/api/v1alpha1"
	"github.com/sluice-mesh/sluice/e2e/harness"
	"github.com/sluice-mesh/sluice/notifier/slack/slackfake"
)

// A release waits for approval in Slack: one message, whose buttons only approvers may press. Slack is
// away when the release begins, which holds nothing up.
func TestApprovalInSlack(t *testing.T) {
	const channel, approver, stranger = "C0RELEASES", "U0APPROVER", "U0STRANGER"
	w := newWorld(t, setting{
		steps: []v1alpha1.Step{harness.Weight(50), {Approval: &v1alpha1.ApprovalStep{Message: "look at the dashboard"}}},
		edit: func(r *v1alpha1.Rollout) {
			r.Spec.Notifications = &v1alpha1.Notifications{Slack: &v1alpha1.SlackNotification{Channel: channel, Approvers: []string{approver}}}
		},
	})
	w.release(v2)
	w.waits(1, 1)
	slack, err := cluster.StartSlack(w.ctx)
	w.must(err)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := slack.Delete(ctx); err != nil {
			t.Errorf("clean up: %v", err)
		}
	})
	asks := func(s slackfake.State) *slackfake.Message {
		for i, m := range s.Messages {
			if m.ThreadTS == "" && m.Channel == channel && len(m.Buttons()) == 2 {
				return &s.Messages[i]
			}
		}
		return nil
	}
	state, err := slack.Until(w.ctx, "a message with buttons, and the operator to listen", func(s slackfake.State) bool {
		return asks(s) != nil && s.Sockets == 1
	})
	w.must(err)
	press := func(user string) slackfake.Press {
		m := asks(state)
		return slackfake.Press{User: user, Name: user, Channel: m.Channel, TS: m.TS, ActionID: "sluice-approve"}
	}
	w.must(slack.Press(w.ctx, press(stranger)))
	_, err = slack.Until(w.ctx, "the stranger to be told who may", func(s slackfake.State) bool {
		return len(s.Ephemerals) == 1 && s.Ephemerals[0].Only == stranger && strings.Contains(s.Ephemerals[0].Text, approver)
	})
	w.must(err)
	if step := w.rollout.Latest().Status.Step; step == nil || step.Index != 1 || step.ApprovedBy != "" {
		t.Fatalf("a stranger's press moved the release: %+v", step)
	}
	w.must(slack.Press(w.ctx, press(approver)))
	o := w.ends(1, v1alpha1.OutcomePromoted)
	if by := o.Status.LastCommand; by == nil || !strings.Contains(by.By, approver) || !by.Accepted {
		t.Errorf("last command is %+v, want the approver's", by)
	}
	state, err = slack.Until(w.ctx, "the message to say that it is over", func(s slackfake.State) bool {
		return asks(s) == nil && len(s.Messages) > 0 && strings.Contains(string(s.Messages[0].Blocks)+string(s.Messages[0].Attachments)+s.Messages[0].Text, "romoted")
	})
	w.must(err)
	roots := 0
	for _, m := range state.Messages {
		if m.ThreadTS == "" {
			roots++
		}
	}
	if roots != 1 {
		t.Errorf("%d messages in the channel, want one a release: %+v", roots, state.Messages)
	}
	w.nothingLost(w.load)
	w.ordinary()
}
