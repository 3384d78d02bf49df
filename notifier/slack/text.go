package slack

import (
	"fmt"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Slack's limits, in characters (docs.slack.dev/reference/block-kit/blocks).
const (
	maxHeader  = 150
	maxSection = 3000
	maxField   = 2000
)

// escape makes text safe for mrkdwn, on one line, of at most limit characters: &, < and > become
// entities, which keeps anybody from mentioning channels and people, and an end is cut off with an
// ellipsis, never within an entity.
func escape(text string, limit int) string {
	var out strings.Builder
	length, end := 0, 0 // end: where the text stops when an ellipsis has to follow
	for _, r := range text {
		piece := string(r)
		switch {
		case r == '&':
			piece = "&amp;"
		case r == '<':
			piece = "&lt;"
		case r == '>':
			piece = "&gt;"
		case unicode.IsSpace(r):
			piece = " "
		case unicode.IsControl(r) || r == utf8.RuneError:
			continue
		}
		length += utf8.RuneCountInString(piece)
		if length > limit {
			return out.String()[:end] + "…"
		}
		out.WriteString(piece)
		if length < limit {
			end = out.Len()
		}
	}
	return out.String()
}

// plain is text for plain_text objects, which know no entities: one line of at most limit characters.
func plain(text string, limit int) string {
	runes := []rune(strings.Join(strings.Fields(text), " "))
	if len(runes) > limit {
		runes = append(runes[:limit-1], '…')
	}
	return string(runes)
}

// code shows text as code; the limit counts the back quotes.
func code(text string, limit int) string {
	return "`" + escape(strings.ReplaceAll(text, "`", "'"), limit-2) + "`"
}

// codes shows a list as code, "none" when it is empty.
func codes(list []string, limit int) string {
	if len(list) == 0 {
		return "none"
	}
	const separator = ", "
	each := (limit - len(separator)*(len(list)-1)) / len(list)
	if each < 10 {
		return fmt.Sprintf("%d images", len(list))
	}
	shown := make([]string, len(list))
	for i, text := range list {
		shown[i] = code(text, each)
	}
	return strings.Join(shown, separator)
}

const barCells = 20

// bar draws a percentage. Only 0 is empty and only 100 is full.
func bar(percent int32) string {
	percent = min(max(percent, 0), 100)
	full := int(percent) * barCells / 100
	if percent > 0 && full == 0 {
		full = 1
	}
	return strings.Repeat("█", full) + strings.Repeat("░", barCells-full)
}

var userPattern = regexp.MustCompile(`^[UW][A-Z0-9]{2,20}$`)

// people lists users as mentions, so that Slack shows their names.
func people(ids []string) string {
	const most = 20
	var shown []string
	for _, id := range ids {
		if len(shown) == most {
			shown = append(shown, fmt.Sprintf("%d more", len(ids)-most))
			break
		}
		if userPattern.MatchString(id) {
			shown = append(shown, "<@"+id+">")
		} else {
			shown = append(shown, code(id, 40))
		}
	}
	if last := len(shown) - 1; last > 0 {
		return strings.Join(shown[:last], ", ") + " and " + shown[last]
	}
	return strings.Join(shown, "")
}
