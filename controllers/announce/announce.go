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

// Announcer tells people what releases do.
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
}

// Tell enqueues one event for every target that the Rollout names. A target whose Secret cannot be read
// is logged and left out: telling never holds up a release.
func (a *Announcer) Tell(rollout *v1alpha1.Rollout, notice plan.Notice) {
	wanted := rollout.Spec.Notifications
	if wanted == nil {
		return
	}
	var targets []notifier.Target
	if wanted.Slack != nil {
		if a.Slack {
			targets = append(targets, notifier.Target{
				Channel: notifier.ChannelSlack, Name: wanted.Slack.Channel, Address: notifier.Secret(wanted.Slack.Channel),
			})
		} else {
			a.Log.Warn("no Slack token is installed; set slack.existingSecret in the chart's values", "namespace", rollout.Namespace, "rollout", rollout.Name)
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	for _, webhook := range wanted.Webhooks {
		target, err := a.webhook(ctx, rollout.Namespace, webhook)
		if err != nil {
			a.Log.Warn("webhook is left out", "namespace", rollout.Namespace, "rollout", rollout.Name, "webhook", webhook.Name, "error", err)
			continue
		}
		targets = append(targets, target)
	}
	if len(targets) > 0 {
		a.Queue.Enqueue(a.event(rollout, notice), targets)
	}
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
	}
	event.ID = fmt.Sprintf("%s/%s/%s/%d/%d/%08x", rollout.UID, event.Release, event.Kind, status.Weight.Epoch, event.StepIndex, crc32.ChecksumIEEE([]byte(notice.Reason)))
	return event
}
