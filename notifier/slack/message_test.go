package slack_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sluice-mesh/sluice/notifier"
	"github.com/sluice-mesh/sluice/notifier/slack"
	"github.com/sluice-mesh/sluice/notifier/slack/slackfake"
)

func TestOneMessageForARelease(t *testing.T) {
	w := newWorkspace(t, slackfake.Options{Channels: map[string]string{"#releases": "C0123456789"}})
	l := w.lead(t)
	var s story
	l.tell(
		s.event(notifier.KindStarted, "cart:v2 starts", 0, 0),
		s.event(notifier.KindWeight, "25 % is asked", 25, 0),
		s.event(notifier.KindWeight, "25 % is live", 25, 25),
		s.event(notifier.KindVerdict, "errors rose & fell <fast>", 25, 25),
		s.end(notifier.KindPromoted, "cart:v2 is stable now"),
	)
	w.await(t, "the last event", func() bool { return w.threads.last() == "r1-Promoted-5" || len(w.Messages()) == 6 })

	posts := w.Posts()
	if len(posts) != 1 {
		t.Fatalf("%d messages, want one: %v", len(posts), texts(posts))
	}
	post := posts[0]
	if post.Channel != "C0123456789" || post.Edits != 4 {
		t.Errorf("message in %s after %d updates, want C0123456789 and 4", post.Channel, post.Edits)
	}
	if want := ":white_check_mark: shop/cart: Promoted. cart:v2 is stable now"; post.Text != want {
		t.Errorf("message %q, want %q", post.Text, want)
	}
	want := []string{
		":seedling: *Started* cart:v2 starts",
		":scales: *Weight* 25 % is asked (asked 25 %, live 0 %)",
		":scales: *Weight* 25 % is live (asked 25 %, live 25 %)",
		":mag: *Verdict* errors rose &amp; fell &lt;fast&gt;",
		":white_check_mark: *Promoted* cart:v2 is stable now",
	}
	if diff := cmp.Diff(want, texts(w.Replies(post.Channel, post.TS))); diff != "" {
		t.Error(diff)
	}
}

func TestNewLeaderGoesOnWithTheMessage(t *testing.T) {
	w := newWorkspace(t, slackfake.Options{})
	var s story
	first := w.lead(t)
	started, weight := s.event(notifier.KindStarted, "starts", 0, 0), s.event(notifier.KindWeight, "10 %", 10, 0)
	first.tell(started, weight)
	w.await(t, "the first leader's replies", func() bool { return len(w.Messages()) == 3 })
	first.stop()

	second := w.lead(t)
	second.tell(weight, s.end(notifier.KindRolledBack, "gone back")) // it repeats what the first may not have sent
	w.await(t, "the second leader's reply", func() bool { return len(w.Messages()) == 4 })
	second.stop()

	posts := w.Posts()
	if len(posts) != 1 {
		t.Fatalf("%d messages, want one: %v", len(posts), texts(posts))
	}
	if want := ":leftwards_arrow_with_hook: shop/cart: Rolled back. gone back"; posts[0].Text != want {
		t.Errorf("message %q, want %q", posts[0].Text, want)
	}
	if got := len(w.Replies(posts[0].Channel, posts[0].TS)); got != 3 {
		t.Errorf("%d replies, want 3: the repeat is not told again", got)
	}
}

func TestUnsavedPlaceMakesNoSecondMessage(t *testing.T) {
	w := newWorkspace(t, slackfake.Options{})
	w.threads.fails = 5
	l := w.lead(t)
	var s story
	l.tell(s.event(notifier.KindStarted, "starts", 0, 0), s.event(notifier.KindWeight, "10 %", 10, 0))
	w.await(t, "both replies", func() bool { return len(w.Messages()) == 3 })
	l.stop()
	if got := len(w.Posts()); got != 1 {
		t.Errorf("%d messages, want one", got)
	}
	if got := w.threads.last(); got != "r1-Weight-2" {
		t.Errorf("last saved event %q", got)
	}
}

func TestReplyThatFailsIsNotToldTwice(t *testing.T) {
	w := newWorkspace(t, slackfake.Options{})
	l := w.lead(t)
	var s story
	l.tell(s.event(notifier.KindStarted, "starts", 0, 0))
	w.await(t, "the message", func() bool { return len(w.Messages()) == 2 })
	w.Fail("chat.postMessage", 2, "internal_error")
	l.tell(s.event(notifier.KindWeight, "10 %", 10, 0), s.event(notifier.KindWeight, "20 %", 20, 0))
	w.await(t, "the replies", func() bool { return len(w.Messages()) == 4 })
	l.stop()
	if got := w.Posts()[0].Edits; got != 2 {
		t.Errorf("%d updates, want one an event", got)
	}
}

func TestDeletedMessageIsPostedAnew(t *testing.T) {
	w := newWorkspace(t, slackfake.Options{})
	l := w.lead(t)
	var s story
	l.tell(s.event(notifier.KindStarted, "starts", 0, 0))
	w.await(t, "the message", func() bool { return len(w.Messages()) == 2 })
	before := w.Posts()[0]
	w.Delete(before.Channel, before.TS)
	l.tell(s.event(notifier.KindWeight, "10 %", 10, 0))
	w.await(t, "another message and its reply", func() bool {
		posts := w.Posts()
		return len(posts) == 1 && len(w.Replies(posts[0].Channel, posts[0].TS)) == 1
	})
	if after := w.Posts()[0]; after.TS == before.TS {
		t.Error("the message is the deleted one")
	}
}

func TestOutageHoldsNothingUp(t *testing.T) {
	for _, outage := range []slackfake.Outage{slackfake.Unavailable, slackfake.Hang} {
		t.Run(string(outage), func(t *testing.T) {
			w := newWorkspace(t, slackfake.Options{})
			l := w.lead(t)
			var s story
			l.tell(s.event(notifier.KindStarted, "starts", 0, 0))
			w.await(t, "the message", func() bool { return len(w.Messages()) == 2 })
			w.SetOutage(outage)
			var want []string
			var longest time.Duration
			for i := range int32(20) {
				before := time.Now()
				l.tell(s.event(notifier.KindWeight, fmt.Sprintf("step %d", i), i, i))
				longest = max(longest, time.Since(before))
				want = append(want, fmt.Sprintf(":scales: *Weight* step %d (asked %d %%, live %d %%)", i, i, i))
			}
			if outage == slackfake.Unavailable {
				w.await(t, "a few failed attempts", func() bool {
					return len(slices.DeleteFunc(w.Calls(), func(c slackfake.Call) bool { return c.Answer != "503" })) > 5
				})
			}
			if longest > time.Second {
				t.Errorf("Enqueue took %v during the outage", longest)
			}
			if got := len(w.Messages()); got != 2 {
				t.Errorf("%d messages arrived during the outage", got-2)
			}
			w.SetOutage(slackfake.Up)
			w.await(t, "everything", func() bool { return len(w.Messages()) == 22 })
			post := w.Posts()[0]
			if diff := cmp.Diff(want, texts(w.Replies(post.Channel, post.TS))[1:]); diff != "" {
				t.Errorf("the order is not kept: %s", diff)
			}
		})
	}
}

func TestRateLimitIsHonoured(t *testing.T) {
	w := newWorkspace(t, slackfake.Options{})
	l := w.lead(t)
	var s story
	l.tell(s.event(notifier.KindStarted, "starts", 0, 0))
	w.await(t, "the message", func() bool { return len(w.Messages()) == 2 })
	w.RateLimit("chat.update", 1, time.Second)
	second := story{}.other("r2")
	l.tell(s.event(notifier.KindWeight, "10 %", 10, 0))
	w.await(t, "the refusal", func() bool {
		return slices.ContainsFunc(w.Calls(), func(c slackfake.Call) bool { return c.Answer == "429" })
	})
	l.tell(second) // another release is posted meanwhile: the limit is on updates
	w.await(t, "both", func() bool { return len(w.Messages()) == 5 })
	var updates []slackfake.Call
	for _, call := range w.Calls() {
		if call.Method == "chat.update" {
			updates = append(updates, call)
		}
	}
	if len(updates) != 2 || updates[0].Answer != "429" || updates[1].Answer != "ok" {
		t.Fatalf("updates: %+v, want one refused and one taken", updates)
	}
	if pause := updates[1].At.Sub(updates[0].At); pause < 900*time.Millisecond {
		t.Errorf("tried again after %v, asked for 1s", pause)
	}
	if third := w.Posts()[1]; !strings.Contains(third.Text, "shop/cart") || len(w.Posts()) != 2 {
		t.Errorf("posts: %v", texts(w.Posts()))
	}
}

func (story) other(release string) notifier.Event {
	other := story{count: 99}
	event := other.event(notifier.KindStarted, "starts", 0, 0)
	event.Release, event.ID = release, release+"-Started-1"
	return event
}

func TestRotatedTokenIsPickedUp(t *testing.T) {
	w := newWorkspace(t, slackfake.Options{})
	l := w.lead(t)
	w.await(t, "a socket", func() bool { return w.Sockets() == 1 })
	w.SetTokens("xoxb-s3cr3t-new", "xapp-s3cr3t-new")
	w.Drop()
	var s story
	l.tell(s.event(notifier.KindStarted, "starts", 0, 0))
	w.await(t, "refusals", func() bool {
		refused := map[string]bool{}
		for _, call := range w.Calls() {
			refused[call.Method] = refused[call.Method] || call.Answer == "invalid_auth"
		}
		return refused["chat.postMessage"] && refused["apps.connections.open"]
	})
	w.rotate("xoxb-s3cr3t-new", "xapp-s3cr3t-new")
	w.await(t, "message and socket", func() bool { return len(w.Messages()) == 2 && w.Sockets() == 1 })
}

func TestPermanentErrors(t *testing.T) {
	w := newWorkspace(t, slackfake.Options{Channels: map[string]string{"#elsewhere": "C0123456789"}})
	l := w.lead(t)
	var s story
	err := l.bot.To(notifier.Target{Address: "#releases"}).Notify(t.Context(), s.event(notifier.KindStarted, "starts", 0, 0))
	if !notifier.IsPermanent(err) || err.Error() != "call slack chat.postMessage: channel_not_found" {
		t.Errorf("err = %v", err)
	}
	w.Fail("chat.postMessage", 1, "internal_error")
	err = l.bot.To(notifier.Target{Address: "#elsewhere"}).Notify(t.Context(), s.event(notifier.KindStarted, "starts", 0, 0))
	if err == nil || notifier.IsPermanent(err) {
		t.Errorf("err = %v, want one to try again", err)
	}
}

// What a hostile or careless Reason could do to a message, Slack takes and shows as text.
func TestLimitsAndEscaping(t *testing.T) {
	w := newWorkspace(t, slackfake.Options{})
	l := w.lead(t)
	var s story
	event := s.event(notifier.KindApprovalNeeded, strings.Repeat("<!channel> & `x` \n", 1000), 250, -5)
	event.Namespace, event.Rollout = strings.Repeat("n", 63), strings.Repeat("r", 253)
	event.Verdict, event.Step = strings.Repeat("&", 5000), strings.Repeat("é<", 5000)
	for i := range 300 {
		event.StableImages = append(event.StableImages, fmt.Sprintf("registry.test/%s:%d", strings.Repeat("i", 200), i))
	}
	event.CanaryImages = []string{strings.Repeat("<", 3000)}
	if err := l.bot.To(notifier.Target{Address: "C0123456789"}).Notify(t.Context(), event); err != nil {
		t.Fatalf("slack refuses the message: %v", err)
	}
	for _, message := range w.Messages() {
		all := message.Text + string(message.Blocks) + string(message.Attachments)
		if strings.Contains(all, "<!channel>") || strings.Contains(all, `\u003c!channel`) {
			t.Errorf("a mention got through: %.300s", all)
		}
	}
	if empty := (notifier.Event{ID: "x", Namespace: "n", Rollout: "r", Release: "e"}); true {
		if err := l.bot.To(notifier.Target{Address: "C0123456789"}).Notify(t.Context(), empty); err != nil {
			t.Errorf("slack refuses the message of an empty event: %v", err)
		}
	}
}

func TestErrorsShowNoToken(t *testing.T) {
	w := newWorkspace(t, slackfake.Options{})
	l := w.lead(t)
	to := l.bot.To(notifier.Target{Address: "C0123456789"})
	var s story
	for _, code := range []string{"invalid_auth", "token_revoked", "xoxb-s3cr3t-bot is not valid", "internal_error"} {
		w.Fail("chat.postMessage", 1, code)
		err := to.Notify(t.Context(), s.event(notifier.KindStarted, "starts", 0, 0))
		if err == nil || strings.Contains(fmt.Sprintf("%+v", err), "s3cr3t") {
			t.Errorf("%s: err = %v", code, err)
		}
	}
	away := slack.New(slack.Config{Tokens: w.tokens, Threads: w.threads, APIURL: "http://xoxb-s3cr3t.invalid/"})
	defer away.CloseIdle()
	err := away.To(notifier.Target{Address: "C0123456789"}).Notify(t.Context(), s.event(notifier.KindStarted, "starts", 0, 0))
	if err == nil || strings.Contains(err.Error(), "s3cr3t") {
		t.Errorf("unknown host: err = %v", err)
	}
}
