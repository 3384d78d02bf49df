package slack

import (
	"context"
	"fmt"
	"sync"

	slackapi "github.com/slack-go/slack"

	"github.com/sluice-mesh/sluice/notifier"
)

// conversation is one channel, as the target names it.
type conversation struct {
	*Bot
	channel string
}

// thread is what the process remembers of a release's message between attempts.
type thread struct {
	mu     sync.Mutex
	loaded bool
	ref    Ref
	// unsaved: the message is there, but Threads does not know yet.
	unsaved bool
	// shown and told are the IDs of the last event in the message and in the thread.
	shown, told string
}

// maxThreads bounds the memory; a release that is forgotten is loaded again.
const maxThreads = 4096

// Notify brings the release's message up to date and tells the event in its thread. An attempt goes
// on where the one before failed.
func (c conversation) Notify(ctx context.Context, event notifier.Event) error {
	key := Key{Namespace: event.Namespace, Rollout: event.Rollout, Release: event.Release, Channel: c.channel}
	t := c.thread(key)
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.loaded {
		ref, _, err := c.cfg.Threads.Load(ctx, key)
		if err != nil {
			return fmt.Errorf("load place of slack message: %w", err)
		}
		t.ref, t.loaded = ref, true
	}
	if t.ref.Event == event.ID && event.ID != "" {
		return nil // delivered by the leader before
	}
	if t.shown != event.ID {
		if err := c.show(ctx, t, event); err != nil {
			return err
		}
	}
	if t.unsaved {
		if err := c.save(ctx, key, t.ref); err != nil {
			return err
		}
		t.unsaved = false
	}
	if t.told != event.ID {
		if err := c.tell(ctx, t.ref, event); err != nil && !isGone(err) {
			return err
		}
		t.told = event.ID
	}
	ref := t.ref
	ref.Event = event.ID
	if err := c.save(ctx, key, ref); err != nil {
		return err
	}
	t.ref = ref
	if event.Final {
		c.forget(key)
	}
	return nil
}

func (b *Bot) thread(key Key) *thread {
	b.mu.Lock()
	defer b.mu.Unlock()
	if t := b.threads[key]; t != nil {
		return t
	}
	if len(b.threads) >= maxThreads {
		for other := range b.threads {
			delete(b.threads, other)
			break
		}
	}
	t := &thread{}
	b.threads[key] = t
	return t
}

func (b *Bot) forget(key Key) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.threads, key)
}

func (b *Bot) save(ctx context.Context, key Key, ref Ref) error {
	if err := b.cfg.Threads.Save(ctx, key, ref); err != nil {
		return fmt.Errorf("save place of slack message: %w", err)
	}
	return nil
}

// show posts the message, or updates it; a message that somebody has deleted is posted anew.
func (c conversation) show(ctx context.Context, t *thread, event notifier.Event) error {
	awaiting := awaiting(t.ref.Awaiting, event)
	if c.cfg.Approvals == nil {
		awaiting = nil
	}
	content, err := message(event, awaiting)
	if err != nil {
		return notifier.Permanent(err)
	}
	if t.ref.Timestamp != "" {
		err := c.call(ctx, "chat.update", t.ref.Channel, func(api *slackapi.Client) error {
			_, _, _, err := api.UpdateMessageContext(ctx, t.ref.Channel, t.ref.Timestamp, content)
			return err
		})
		switch {
		case err == nil:
			t.ref.Awaiting, t.shown = awaiting, event.ID
			return nil
		case !isGone(err):
			return err
		}
		c.cfg.Log.Info("slack message is gone, posting another", "namespace", event.Namespace, "rollout", event.Rollout, "release", event.Release)
	}
	return c.call(ctx, "chat.postMessage", c.channel, func(api *slackapi.Client) error {
		channel, timestamp, err := api.PostMessageContext(ctx, c.channel, content, quiet)
		if err == nil {
			t.ref = Ref{Channel: channel, Timestamp: timestamp, Awaiting: awaiting, Event: t.ref.Event}
			t.shown, t.unsaved = event.ID, true
		}
		return err
	})
}

// tell replies in the thread.
func (c conversation) tell(ctx context.Context, ref Ref, event notifier.Event) error {
	return c.call(ctx, "chat.postMessage", ref.Channel, func(api *slackapi.Client) error {
		_, _, err := api.PostMessageContext(ctx, ref.Channel, reply(event), slackapi.MsgOptionTS(ref.Timestamp), quiet)
		return err
	})
}

// quiet keeps Slack from adding previews of what an image's name or a sentence links to.
var quiet = slackapi.MsgOptionCompose(slackapi.MsgOptionDisableLinkUnfurl(), slackapi.MsgOptionDisableMediaUnfurl())

// awaiting returns the step for whose approval the message has buttons after event: they come with
// ApprovalNeeded, and stay while the release waits at that step and only tells more about it.
func awaiting(before *int32, event notifier.Event) *int32 {
	if event.Final {
		return nil
	}
	switch event.Kind {
	case notifier.KindApprovalNeeded:
		step := event.StepIndex
		return &step
	case notifier.KindVerdict, notifier.KindInconclusive, notifier.KindLagging, notifier.KindPaused,
		notifier.KindResumed, notifier.KindStalled, notifier.KindDegraded:
		if before != nil && *before == event.StepIndex && event.Phase == phaseProgressing {
			return before
		}
	}
	return nil
}
