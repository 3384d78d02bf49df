package slack

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/cenkalti/backoff/v5"
	slackapi "github.com/slack-go/slack"

	"github.com/sluice-mesh/sluice/notifier"
)

// handling bounds what a press may take, its answer included.
const handling = 30 * time.Second

// press is a person's press on one of our buttons.
type press struct {
	channel, userID, userName string
	value                     string
	approve                   bool
}

// pressesIn picks our buttons from an interaction.
func pressesIn(callback slackapi.InteractionCallback) []press {
	if callback.Type != slackapi.InteractionTypeBlockActions {
		return nil
	}
	var presses []press
	for _, action := range callback.ActionCallback.BlockActions {
		if action == nil || action.ActionID != actionApprove && action.ActionID != actionReject {
			continue
		}
		channel := callback.Channel.ID
		if channel == "" {
			channel = callback.Container.ChannelID
		}
		presses = append(presses, press{
			channel: channel, userID: callback.User.ID, userName: callback.User.Name,
			value: action.Value, approve: action.ActionID == actionApprove,
		})
	}
	return presses
}

func (p press) decision() (notifier.Decision, error) {
	var about subject
	if err := json.Unmarshal([]byte(p.value), &about); err != nil {
		return notifier.Decision{}, err
	}
	if about.Namespace == "" || about.Rollout == "" || about.Release == "" {
		return notifier.Decision{}, errors.New("the button names no release")
	}
	by := "slack:" + p.userID
	if name := plain(p.userName, 64); name != "" {
		by += " (" + name + ")"
	}
	return notifier.Decision{
		Namespace: about.Namespace, Rollout: about.Rollout, Release: about.Release,
		StepIndex: about.StepIndex, Approve: p.approve, By: by,
	}, nil
}

// handle decides as the press says, when the person may, and tells only that person what came of it.
func (b *Bot) handle(ctx context.Context, p press) {
	ctx, cancel := context.WithTimeout(ctx, handling)
	defer cancel()
	answer := b.decide(ctx, p)
	if err := b.whisper(ctx, p, answer); err != nil {
		b.cfg.Log.Warn("answer to a slack press not delivered", "user", p.userID, "error", err)
	}
}

// decide returns what the person is told.
func (b *Bot) decide(ctx context.Context, p press) string {
	decision, err := p.decision()
	if err != nil {
		b.cfg.Log.Warn("slack press refused", "user", p.userID, "reason", "value of the button cannot be read")
		return ":warning: This button cannot be read; it may be of another version of Sluice."
	}
	log := b.cfg.Log.With("namespace", decision.Namespace, "rollout", decision.Rollout, "release", decision.Release,
		"step", decision.StepIndex, "approve", decision.Approve, "by", decision.By)
	name := escape(decision.Namespace+"/"+decision.Rollout, 400)
	approvers, err := b.cfg.Approvals.Approvers(ctx, decision)
	if err != nil {
		return b.refused(log.With("doing", "look up approvers"), err)
	}
	if !slices.Contains(approvers, p.userID) {
		log.Warn("slack press refused", "reason", "not an approver")
		if len(approvers) == 0 {
			return fmt.Sprintf(":no_entry: Nobody may decide about *%s* in Slack: no approvers are listed.", name)
		}
		return fmt.Sprintf(":no_entry: Only %s may decide about *%s*.", people(approvers), name)
	}
	if err := b.cfg.Approvals.Decide(ctx, decision); err != nil {
		return b.refused(log.With("doing", "decide"), err)
	}
	log.Info("slack press taken")
	if decision.Approve {
		return fmt.Sprintf(":thumbsup: Your approval of *%s* is recorded.", name)
	}
	return fmt.Sprintf(":rewind: Your rejection of *%s* is recorded; it is being rolled back.", name)
}

func (b *Bot) refused(log *slog.Logger, err error) string {
	if why, ok := errors.AsType[*notifier.Refusal](err); ok {
		log.Info("slack press refused", "reason", why.Reason)
		return ":information_source: " + escape(why.Reason, 1000)
	}
	log.Error("slack press failed", "error", err)
	return ":warning: That could not be recorded. Try again, or decide on the command line."
}

// whisper shows text to the person who pressed, and tries for as long as ctx lasts.
func (b *Bot) whisper(ctx context.Context, p press, text string) error {
	var last error
	_, err := backoff.Retry(ctx, func() (struct{}, error) {
		last = b.call(ctx, "chat.postEphemeral", p.channel, func(api *slackapi.Client) error {
			_, err := api.PostEphemeralContext(ctx, p.channel, p.userID, slackapi.MsgOptionText(text, false))
			return err
		})
		return struct{}{}, last
	}, backoff.WithBackOff(b.cfg.BackOff()), backoff.WithMaxElapsedTime(0))
	if err != nil {
		return last
	}
	return nil
}

// envelope tells a repeat of a press: Slack may send one again that it holds unacknowledged.
func envelope(callback slackapi.InteractionCallback, id string) string {
	return strings.Join([]string{id, callback.TriggerID}, " ")
}
