// Package announce stands between releases and the people to tell: it turns what happened into events
// of package notifier, finds the targets that a Rollout asks for, remembers in the Rollout where its
// chat message is, and turns what people press in chat into commands on the Rollout.
package announce

import (
	"context"
	"fmt"
	"hash/crc32"
	"log/slog"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-mesh/sluice/api/v1alpha1"
	"github.com/sluice-mesh/sluice/controllers/plan"
	"github.com/sluice-mesh/sluice/notifier"
)

// Queue takes events. Enqueue returns at once.
type Queue interface {
	Enqueue(event notifier.Event, targets []notifier.Target)
}

// Announcer tells people what releases do. Tell only notes what is to be told; Run finds the targets,
// because that reads Secrets, and no release waits for that.
type Announcer struct {
	// Reader reads Secrets from the API server itself: they are not cached.
	Reader client.Reader
	// Queue delivers. It never blocks.
	Queue Queue
	// Slack is whether the installation has a Slack token.
	Slack bool
	// Now is the clock.
	Now func() time.Time
	// Log takes what could not be told.
	Log *slog.Logger

	notes chan note
}

// note is one thing to be told, and what the Rollout says about whom to tell.
type note struct {
	event  notifier.Event
	wanted v1alpha1.Notifications
}

// waiting is how many notes may wait for their targets.
const waiting = 1024

// New makes an Announcer from its public fields.
func New(a Announcer) *Announcer {
	a.notes = make(chan note, waiting)
	return &a
}

// Tell notes one thing to be told to everybody whom the Rollout names. It returns at once.
func (a *Announcer) Tell(rollout *v1alpha1.Rollout, notice plan.Notice) {
	if rollout.Spec.Notifications == nil {
		return
	}
	n := note{a.event(rollout, notice), *rollout.Spec.Notifications.DeepCopy()}
	select {
	case a.notes <- n:
	default:
		a.Log.Error("too much to tell; one thing is left out", "namespace", rollout.Namespace, "rollout", rollout.Name, "kind", notice.Kind)
	}
}

// Run hands what is noted to the queue until the context ends.
func (a *Announcer) Run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case n := <-a.notes:
			if targets := a.targets(ctx, n); len(targets) > 0 {
				a.Queue.Enqueue(n.event, targets)
			}
		}
	}
}

// targets finds where a note goes. One whose Secret cannot be read is logged and left out.
func (a *Announcer) targets(ctx context.Context, n note) []notifier.Target {
	log := a.Log.With("namespace", n.event.Namespace, "rollout", n.event.Rollout)
	var targets []notifier.Target
	if slack := n.wanted.Slack; slack != nil && a.Slack {
		targets = append(targets, notifier.Target{Channel: notifier.ChannelSlack, Name: slack.Channel, Address: notifier.Secret(slack.Channel)})
	} else if slack != nil {
		log.Warn("no Slack token is installed; set slack.existingSecret in the chart's values")
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	for _, webhook := range n.wanted.Webhooks {
		target, err := a.webhook(ctx, n.event.Namespace, webhook)
		if err != nil {
			log.Warn("webhook is left out", "webhook", webhook.Name, "error", err)
			continue
		}
		targets = append(targets, target)
	}
	return targets
}

// webhook reads a webhook's address and token from its Secret.
func (a *Announcer) webhook(ctx context.Context, namespace string, webhook v1alpha1.WebhookNotification) (notifier.Target, error) {
	var secret corev1.Secret
	if err := a.Reader.Get(ctx, client.ObjectKey{Namespace: namespace, Name: webhook.SecretRef.Name}, &secret); err != nil {
		return notifier.Target{}, fmt.Errorf("read secret %s: %w", webhook.SecretRef.Name, err)
	}
	if len(secret.Data["url"]) == 0 {
		return notifier.Target{}, fmt.Errorf("secret %s has no key url", webhook.SecretRef.Name)
	}
	return notifier.Target{
		Channel: notifier.ChannelWebhook, Name: namespace + "/" + webhook.Name,
		Address: notifier.Secret(secret.Data["url"]), Token: notifier.Secret(secret.Data["token"]),
	}, nil
}

// event is the whole picture at the time of a notice. Its ID is the same if the same thing is told
// again after a crash.
func (a *Announcer) event(rollout *v1alpha1.Rollout, notice plan.Notice) notifier.Event {
	status := rollout.Status
	event := notifier.Event{
		Kind: string(notice.Kind), At: a.Now(),
		Namespace: rollout.Namespace, Rollout: rollout.Name,
		Phase: string(status.Phase), Reason: notice.Reason,
		Desired: status.Weight.Desired, Live: status.Weight.Live,
		Final: notice.Kind == plan.NoticePromoted || notice.Kind == plan.NoticeRolledBack,
	}
	if status.Release != nil {
		event.Release = status.Release.ID
	}
	if status.Step != nil {
		event.Step, event.StepIndex = status.Step.Display, status.Step.Index
	}
	if status.Stable != nil {
		event.StableImages = status.Stable.Images
	}
	if status.Canary != nil {
		event.CanaryImages = status.Canary.Images
	}
	if len(status.Verdicts) > 0 {
		event.Verdict = status.Verdicts[0].Reason
		if score := status.Verdicts[0].Score; score != nil {
			event.Verdict += fmt.Sprintf(" (score %d of 100)", *score)
		}
	}
	event.ID = fmt.Sprintf("%s/%s/%s/%d/%d/%08x", rollout.UID, event.Release, event.Kind, status.Weight.Epoch, event.StepIndex, crc32.ChecksumIEEE([]byte(notice.Reason)))
	return event
}
