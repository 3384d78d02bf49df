package slack

import (
	"fmt"
	"time"

	slackapi "github.com/slack-go/slack"

	"github.com/sluice-mesh/sluice/notifier"
)

// The phases of a Rollout that look different; any other is shown by its name.
const (
	phaseStarting    = "Starting"
	phaseProgressing = "Progressing"
	phaseBaking      = "Baking"
	phasePromoting   = "Promoting"
	phaseRollingBack = "RollingBack"
	phaseRolledBack  = "RolledBack"
)

// look is how a state of a release, or an event, appears.
type look struct{ emoji, colour, words string }

const (
	blue  = "#2F80ED"
	amber = "#ECB22E"
	green = "#2EB67D"
	red   = "#E01E5A"
	grey  = "#8D8D8D"
)

var kinds = map[string]look{
	notifier.KindStarted:        {":seedling:", blue, "Started"},
	notifier.KindWeight:         {":scales:", blue, "Weight"},
	notifier.KindVerdict:        {":mag:", blue, "Verdict"},
	notifier.KindApprovalNeeded: {":raised_hand:", amber, "Approval needed"},
	notifier.KindApproved:       {":thumbsup:", blue, "Approved"},
	notifier.KindPaused:         {":double_vertical_bar:", amber, "Paused"},
	notifier.KindResumed:        {":arrow_forward:", blue, "Resumed"},
	notifier.KindInconclusive:   {":grey_question:", amber, "Inconclusive"},
	notifier.KindLagging:        {":snail:", amber, "Proxies lag"},
	notifier.KindBaking:         {":hourglass_flowing_sand:", blue, "Baking"},
	notifier.KindPromoted:       {":white_check_mark:", green, "Promoted"},
	notifier.KindRollingBack:    {":rewind:", red, "Rolling back"},
	notifier.KindRolledBack:     {":leftwards_arrow_with_hook:", red, "Rolled back"},
	notifier.KindStalled:        {":octagonal_sign:", red, "Stalled"},
	notifier.KindDegraded:       {":warning:", red, "Degraded"},
}

var phases = map[string]look{
	phaseStarting:    kinds[notifier.KindStarted],
	phaseProgressing: {":rocket:", blue, "Progressing"},
	phaseBaking:      kinds[notifier.KindBaking],
	phasePromoting:   {":package:", blue, "Promoting"},
	phaseRollingBack: kinds[notifier.KindRollingBack],
	phaseRolledBack:  kinds[notifier.KindRolledBack],
}

// state is how the release as a whole looks after event.
func state(event notifier.Event, awaiting *int32) look {
	if awaiting != nil {
		return kinds[notifier.KindApprovalNeeded]
	}
	switch event.Kind {
	case notifier.KindPromoted, notifier.KindRolledBack, notifier.KindStalled, notifier.KindDegraded,
		notifier.KindPaused, notifier.KindInconclusive:
		return kinds[event.Kind]
	}
	if look, ok := phases[event.Phase]; ok {
		return look
	}
	return look{":information_source:", grey, event.Phase}
}

// The buttons' action IDs.
const (
	actionApprove = "sluice-approve"
	actionReject  = "sluice-reject"
)

// message renders the release's one message.
func message(event notifier.Event, awaiting *int32) (slackapi.MsgOption, error) {
	now := state(event, awaiting)
	name := event.Namespace + "/" + event.Rollout
	blocks := []slackapi.Block{
		slackapi.NewHeaderBlock(plainText(fmt.Sprintf("%s %s: %s", now.emoji, plain(name, 100), plain(now.words, 20)), maxHeader)),
	}
	if event.Reason != "" {
		blocks = append(blocks, section(escape(event.Reason, maxSection)))
	}
	blocks = append(blocks,
		section(fmt.Sprintf("```\nasked %s %3d %%\nlive  %s %3d %%\n```", bar(event.Desired), event.Desired, bar(event.Live), event.Live)),
		slackapi.NewSectionBlock(nil, fields(event), nil),
	)
	if awaiting != nil {
		buttons, err := buttons(event, *awaiting)
		if err != nil {
			return nil, err
		}
		blocks = append(blocks, buttons)
	}
	text := fmt.Sprintf("%s %s: %s. %s", now.emoji, escape(name, 300), escape(now.words, 30), escape(event.Reason, 1000))
	return slackapi.MsgOptionCompose(
		slackapi.MsgOptionText(text, false),
		slackapi.MsgOptionBlocks(blocks...),
		slackapi.MsgOptionAttachments(slackapi.Attachment{
			Color:    now.colour,
			Fallback: text,
			Blocks:   slackapi.Blocks{BlockSet: evidence(event)},
		}),
	), nil
}

func fields(event notifier.Event) []*slackapi.TextBlockObject {
	fields := []*slackapi.TextBlockObject{
		markdown("*Stable → canary*\n" + codes(event.StableImages, 900) + " → " + codes(event.CanaryImages, 900)),
	}
	if event.Step != "" {
		fields = append(fields, markdown("*Step*\n"+escape(event.Step, maxField-10)))
	}
	return fields
}

// evidence is what stands beside the coloured line: the judge's last sentence, which release, when.
func evidence(event notifier.Event) []slackapi.Block {
	var blocks []slackapi.Block
	if event.Verdict != "" {
		blocks = append(blocks, section("*Judge* "+escape(event.Verdict, maxSection-10)))
	}
	return append(blocks, slackapi.NewContextBlock("",
		markdown(fmt.Sprintf("release %s, %s", code(event.Release, 200), date(event.At)))))
}

// buttons is the approval. Their value says what they are about, so that a late press hits nothing else.
func buttons(event notifier.Event, step int32) (*slackapi.ActionBlock, error) {
	value, err := subject{event.Namespace, event.Rollout, event.Release, step}.value()
	if err != nil {
		return nil, err
	}
	name := plain(event.Namespace+"/"+event.Rollout, 100)
	approve := slackapi.NewButtonBlockElement(actionApprove, value, plainText("Approve", 75)).WithStyle(slackapi.StylePrimary)
	reject := slackapi.NewButtonBlockElement(actionReject, value, plainText("Reject", 75)).WithStyle(slackapi.StyleDanger).
		WithConfirm(slackapi.NewConfirmationBlockObject(
			plainText("Reject?", 100), plainText("This rolls "+name+" back.", 300),
			plainText("Roll back", 30), plainText("Not now", 30)))
	return slackapi.NewActionBlock("sluice-approval", approve, reject), nil
}

// reply renders what is told in the thread.
func reply(event notifier.Event) slackapi.MsgOption {
	look, ok := kinds[event.Kind]
	if !ok {
		look.emoji, look.words = ":information_source:", event.Kind
	}
	text := fmt.Sprintf("%s *%s* %s", look.emoji, escape(look.words, 50), escape(event.Reason, 2000))
	switch event.Kind {
	case notifier.KindWeight:
		text += fmt.Sprintf(" (asked %d %%, live %d %%)", event.Desired, event.Live)
	case notifier.KindVerdict, notifier.KindInconclusive, notifier.KindRollingBack:
		if event.Verdict != "" && event.Verdict != event.Reason {
			text += "\n> " + escape(event.Verdict, 800)
		}
	}
	return slackapi.MsgOptionCompose(slackapi.MsgOptionText(text, false), slackapi.MsgOptionBlocks(section(text)))
}

// date is shown in each reader's own time zone.
func date(at time.Time) string {
	return fmt.Sprintf("<!date^%d^{date_short_pretty} {time_secs}|%s>", at.Unix(), at.UTC().Format(time.RFC3339))
}

func section(text string) *slackapi.SectionBlock {
	return slackapi.NewSectionBlock(markdown(text), nil, nil)
}

// markdown is verbatim: Slack adds no links to what looks like a name of a channel or person.
func markdown(text string) *slackapi.TextBlockObject {
	return slackapi.NewTextBlockObject(slackapi.MarkdownType, text, false, true)
}

func plainText(text string, limit int) *slackapi.TextBlockObject {
	return slackapi.NewTextBlockObject(slackapi.PlainTextType, plain(text, limit), true, false)
}
