package check

import (
	"fmt"
	"math"
	"sort"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// short makes one line of at most so many characters of a text that came from elsewhere.
func short(text string, most int) string {
	var b strings.Builder
	n := 0
	for _, r := range text {
		if n == most {
			b.WriteString("…")
			break
		}
		if !unicode.IsPrint(r) || r == utf8.RuneError {
			r = ' '
		}
		b.WriteRune(r)
		n++
	}
	return strings.TrimSpace(b.String())
}

// Redact replaces secrets in a text that is to be shown. Texts shorter than 3 bytes are no secrets: what
// would be left could not be read. Longer ones go first, so that one that contains another is gone whole.
func Redact(text string, secrets ...string) string {
	sorted := make([]string, 0, len(secrets))
	for _, secret := range secrets {
		if len(strings.TrimSpace(secret)) >= 3 {
			sorted = append(sorted, secret, strings.TrimSpace(secret))
		}
	}
	sort.SliceStable(sorted, func(i, j int) bool { return len(sorted[i]) > len(sorted[j]) })
	for _, secret := range sorted {
		text = strings.ReplaceAll(text, secret, "***")
	}
	return text
}

// number writes a number as people read it: NaN and infinities by name, others with up to 6 digits.
func number(value float64) string {
	if math.IsInf(value, 1) {
		return "+Inf"
	}
	return strconv.FormatFloat(value, 'g', 6, 64)
}

// count writes a number of things.
func count(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}
