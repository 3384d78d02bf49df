package slack

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"time"

	slackapi "github.com/slack-go/slack"

	"github.com/sluice-mesh/sluice/notifier"
	"github.com/sluice-mesh/sluice/notifier/internal/failure"
)

// hopeless are the errors of chat.* methods that the same call will meet again. Errors about tokens
// are not among them: a Secret may be on its way.
var hopeless = []string{
	"channel_not_found", "not_in_channel", "is_archived", "restricted_action", "restricted_action_thread_locked",
	"restricted_action_read_only_channel", "restricted_action_non_threadable_channel", "user_not_in_channel",
	"invalid_blocks", "invalid_blocks_format", "invalid_attachments", "too_many_attachments", "msg_too_long", "msg_blocks_too_long",
	"no_text", "invalid_arguments", "invalid_arg_name", "invalid_form_data", "invalid_post_type", "messages_tab_disabled",
	"ekm_access_denied", "channel_type_not_supported", "cannot_reply_to_message", "unknown_method", "method_deprecated",
	"message_not_found", "cant_update_message", "edit_window_closed", "thread_not_found",
}

// gone are the errors that say that a message can no longer be updated or replied to.
var gone = []string{"message_not_found", "cant_update_message", "edit_window_closed", "thread_not_found"}

// refusal is an error that Slack answered with.
type refusal struct{ method, code, detail string }

func (r *refusal) Error() string {
	return fmt.Sprintf("call slack %s: %s%s", r.method, r.code, r.detail)
}

// isGone reports whether err says that the message is not there any more.
func isGone(err error) bool {
	answer, ok := errors.AsType[*refusal](err)
	return ok && slices.Contains(gone, answer.code)
}

// call makes one Web API call with the tokens that are valid now, unless Slack has asked for silence.
// Its errors say what a queue has to know, and nothing of tokens or of what was sent.
func (b *Bot) call(ctx context.Context, method, channel string, do func(*slackapi.Client) error) error {
	if pause := b.silence(method, channel); pause > 0 {
		return notifier.RetryAfter(fmt.Errorf("call slack %s: rate limited", method), pause)
	}
	bot, _, err := b.cfg.Tokens(ctx)
	if err != nil {
		return fmt.Errorf("get slack tokens: %w", err)
	}
	if bot == "" {
		return errors.New("get slack tokens: there is no bot token")
	}
	client := slackapi.New(bot, slackapi.OptionAPIURL(b.cfg.APIURL), slackapi.OptionHTTPClient(b.http))
	return b.judge(method, channel, do(client))
}

// silence returns how long Slack wants no more calls.
func (b *Bot) silence(method, channel string) time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	key := method + " " + channel
	pause := b.limited[key].Sub(b.cfg.Now())
	if pause <= 0 {
		delete(b.limited, key)
	}
	return pause
}

// judge turns the client's error into one of ours.
func (b *Bot) judge(method, channel string, err error) error {
	if err == nil {
		return nil
	}
	if limit, ok := errors.AsType[*slackapi.RateLimitedError](err); ok {
		b.mu.Lock()
		b.limited[method+" "+channel] = b.cfg.Now().Add(limit.RetryAfter)
		b.mu.Unlock()
		return notifier.RetryAfter(fmt.Errorf("call slack %s: rate limited", method), limit.RetryAfter)
	}
	if answer, ok := errors.AsType[slackapi.SlackErrorResponse](err); ok {
		refused := &refusal{method: method, code: word(answer.Err)}
		if answer.Needed != "" {
			refused.detail = " (needs " + word(answer.Needed) + ")"
		}
		if slices.Contains(hopeless, refused.code) {
			return notifier.Permanent(refused)
		}
		return refused
	}
	if status, ok := errors.AsType[slackapi.StatusCodeError](err); ok {
		return fmt.Errorf("call slack %s: it answered %d %s", method, status.Code, http.StatusText(status.Code))
	}
	return fmt.Errorf("call slack %s: %s", method, failure.Reason(err))
}

var wordPattern = regexp.MustCompile(`^[a-z0-9_:.,]{1,100}$`)

// word lets only through what an error code or a scope of Slack looks like.
func word(text string) string {
	if wordPattern.MatchString(text) {
		return text
	}
	return "unknown error"
}
