package notifier

import (
	"log/slog"
	"strings"
)

// The kinds of channel that Sluice brings.
const (
	ChannelSlack   = "slack"
	ChannelWebhook = "webhook"
)

// Target is where an event goes.
type Target struct {
	// Channel is the kind of channel, one of those the queue was made with; a metric's label.
	Channel string
	// Name tells targets apart in logs, such as namespace and name of a webhook. It is no secret.
	Name string
	// Address is a Slack channel's ID or name, or a webhook's URL, which often is a credential itself.
	Address Secret
	// Token is a webhook's bearer token; empty for none.
	Token Secret
}

// Secret is a text that prints, logs and marshals as "[redacted]". The zero value is no secret at all.
type Secret string

const redacted = "[redacted]"

// Reveal returns the text itself.
func (s Secret) Reveal() string { return string(s) }

// String hides the text.
func (s Secret) String() string {
	if s == "" {
		return ""
	}
	return redacted
}

// GoString hides the text from %#v.
func (s Secret) GoString() string { return `"` + s.String() + `"` }

// LogValue hides the text from slog.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }

// MarshalText hides the text from encoders.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// Redact returns text without the secret.
func (s Secret) Redact(text string) string {
	if s == "" {
		return text
	}
	return strings.ReplaceAll(text, string(s), redacted)
}
