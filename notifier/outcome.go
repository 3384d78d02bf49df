package notifier

import (
	"errors"
	"time"

	"github.com/cenkalti/backoff/v5"
)

// Permanent marks an error that trying again cannot mend; the event is dropped. Permanent(nil) is nil.
func Permanent(err error) error { return backoff.Permanent(err) }

// RetryAfter marks an error whose cause asks for a pause; the next attempt waits that long in place of
// the back-off. RetryAfter(nil, d) is nil.
func RetryAfter(err error, pause time.Duration) error {
	if err == nil {
		return nil
	}
	return &later{err, &backoff.RetryAfterError{Duration: pause}}
}

// later keeps the cause's words and carries the pause.
type later struct {
	cause error
	pause *backoff.RetryAfterError
}

func (l *later) Error() string   { return l.cause.Error() }
func (l *later) Unwrap() []error { return []error{l.cause, l.pause} }

// Refusal is why a decision does not apply (the release is over, somebody was faster). Its text is
// shown to the person who decided; the text of any other error is not.
type Refusal struct{ Reason string }

func (r *Refusal) Error() string { return r.Reason }

// Refuse returns a Refusal. The reason is a sentence for people.
func Refuse(reason string) error { return &Refusal{Reason: reason} }

// Pause returns how long err asks to wait before the next attempt, when it was made by RetryAfter.
func Pause(err error) (time.Duration, bool) {
	if asked, ok := errors.AsType[*backoff.RetryAfterError](err); ok {
		return asked.Duration, true
	}
	return 0, false
}

// IsPermanent reports whether err was made by Permanent.
func IsPermanent(err error) bool {
	_, ok := errors.AsType[*backoff.PermanentError](err)
	return ok
}
