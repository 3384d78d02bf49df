package observe

import (
	"strconv"
	"unicode/utf8"
)

// maxText bounds a text, in bytes: what a client sends may be as long as a request's head.
const maxText = 2048

// appendText appends a JSON string. Bytes that are no UTF-8 become U+FFFD, as encoding/json has it.
func appendText(dst []byte, text string) []byte {
	if len(text) > maxText {
		text = text[:maxText]
	}
	dst = append(dst, '"')
	from := 0
	for i := 0; i < len(text); {
		c := text[i]
		if c >= ' ' && c < utf8.RuneSelf && c != '"' && c != '\\' {
			i++
			continue
		}
		if c >= utf8.RuneSelf {
			r, size := utf8.DecodeRuneInString(text[i:])
			if r != utf8.RuneError || size > 1 {
				i += size
				continue
			}
		}
		dst = append(dst, text[from:i]...)
		switch {
		case c >= utf8.RuneSelf:
			dst = append(dst, `\ufffd`...)
		case c == '"', c == '\\':
			dst = append(dst, '\\', c)
		case c == '\n':
			dst = append(dst, '\\', 'n')
		case c == '\t':
			dst = append(dst, '\\', 't')
		default:
			const hex = "0123456789abcdef"
			dst = append(dst, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		}
		i++
		from = i
	}
	dst = append(dst, text[from:]...)
	return append(dst, '"')
}

// appendField appends a field with a text, nothing where it is empty. Some field precedes it.
func appendField(dst []byte, name, text string) []byte {
	if text == "" {
		return dst
	}
	return appendText(appendName(dst, name), text)
}

func appendNumber(dst []byte, name string, n int64) []byte {
	return strconv.AppendInt(appendName(dst, name), n, 10)
}

// appendName appends the name of a further field, which is plain ASCII.
func appendName(dst []byte, name string) []byte {
	dst = append(dst, `,"`...)
	dst = append(dst, name...)
	return append(dst, `":`...)
}
