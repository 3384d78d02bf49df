package prometheus

import (
	"bytes"
	"encoding/json"
	"strconv"
)

// scanner reads JSON from a text that is all there. Each of its methods consumes what it is named after,
// with white space before it, and says whether it was there. It is lenient about numbers and about bytes
// that are no UTF-8, as strconv and encoding/json are.
type scanner struct {
	data []byte
	at   int
}

func (s *scanner) space() {
	for s.at < len(s.data) {
		switch s.data[s.at] {
		case ' ', '\t', '\n', '\r':
			s.at++
		default:
			return
		}
	}
}

// take consumes one byte.
func (s *scanner) take(c byte) bool {
	if s.at < len(s.data) && s.data[s.at] == c {
		s.at++
		return true
	}
	s.space()
	if s.at < len(s.data) && s.data[s.at] == c {
		s.at++
		return true
	}
	return false
}

// object calls each for each key; each must consume the value.
func (s *scanner) object(each func(key []byte) bool) bool {
	if !s.take('{') {
		return false
	}
	if s.take('}') {
		return true
	}
	for {
		key, ok := s.text()
		if !ok || !s.take(':') || !each(key) {
			return false
		}
		if !s.take(',') {
			return s.take('}')
		}
	}
}

// array calls each for each element; each must consume it.
func (s *scanner) array(each func() bool) bool {
	if !s.take('[') {
		return false
	}
	if s.take(']') {
		return true
	}
	for {
		if !each() {
			return false
		}
		if !s.take(',') {
			return s.take(']')
		}
	}
}

// text is a string's bytes with its escapes as they stand.
func (s *scanner) text() ([]byte, bool) {
	if !s.take('"') {
		return nil, false
	}
	start := s.at
	for s.at < len(s.data) {
		switch c := s.data[s.at]; {
		case c == '"':
			s.at++
			return s.data[start : s.at-1], true
		case c == '\\':
			if !s.escape() {
				return nil, false
			}
		case c < ' ':
			return nil, false
		default:
			s.at++
		}
	}
	return nil, false
}

func (s *scanner) escape() bool {
	if s.at+1 >= len(s.data) {
		return false
	}
	c := s.data[s.at+1]
	s.at += 2
	if c != 'u' {
		return bytes.IndexByte([]byte(`"\/bfnrt`), c) >= 0
	}
	for range 4 {
		if s.at >= len(s.data) || bytes.IndexByte([]byte("0123456789abcdefABCDEF"), s.data[s.at]) < 0 {
			return false
		}
		s.at++
	}
	return true
}

// copyText reads a string, or null, with its escapes resolved.
func (s *scanner) copyText(into *string) bool {
	if s.null() {
		return true
	}
	s.space()
	start := s.at
	_, ok := s.text()
	return ok && json.Unmarshal(s.data[start:s.at], into) == nil
}

// firstText reads the first of several strings, or null.
func (s *scanner) firstText(into *string) bool {
	return s.null() || s.array(func() bool {
		if *into == "" {
			return s.copyText(into)
		}
		return s.skip(0)
	})
}

func (s *scanner) null() bool { return s.word("null") }

func (s *scanner) word(word string) bool {
	s.space()
	if len(s.data)-s.at < len(word) || string(s.data[s.at:s.at+len(word)]) != word {
		return false
	}
	s.at += len(word)
	return true
}

// skip consumes any value, no deeper than a hundred levels.
func (s *scanner) skip(depth int) bool {
	if s.space(); s.at >= len(s.data) || depth > 100 {
		return false
	}
	switch s.data[s.at] {
	case '{':
		return s.object(func([]byte) bool { return s.skip(depth + 1) })
	case '[':
		return s.array(func() bool { return s.skip(depth + 1) })
	case '"':
		_, ok := s.text()
		return ok
	}
	if s.null() || s.word("true") || s.word("false") {
		return true
	}
	return len(s.number()) > 0
}

// number is the bytes that a number can consist of.
func (s *scanner) number() []byte {
	s.space()
	start := s.at
	for s.at < len(s.data) {
		switch c := s.data[s.at]; {
		case c >= '0' && c <= '9', c == '-', c == '+', c == '.', c == 'e', c == 'E':
			s.at++
		default:
			return s.data[start:s.at]
		}
	}
	return s.data[start:s.at]
}

// millis reads a time in decimal seconds; what is below a millisecond is cut off.
func (s *scanner) millis() (int64, bool) {
	s.space()
	negative := s.take('-')
	whole, digits := s.digits()
	if digits == 0 || digits > 15 {
		return 0, false
	}
	fraction := int64(0)
	if s.at < len(s.data) && s.data[s.at] == '.' {
		s.at++
		start := s.at
		_, places := s.digits()
		if places == 0 {
			return 0, false
		}
		for i := range 3 {
			fraction *= 10
			if i < places {
				fraction += int64(s.data[start+i] - '0')
			}
		}
	}
	if at := whole*1000 + fraction; !negative {
		return at, true
	}
	return -whole*1000 - fraction, true
}

// digits reads a whole number and says of how many digits; one of more than 15 is not exact.
func (s *scanner) digits() (int64, int) {
	value, start := int64(0), s.at
	for s.at < len(s.data) {
		c := s.data[s.at] - '0'
		if c > 9 {
			break
		}
		value = value*10 + int64(c)
		s.at++
	}
	return value, s.at - start
}

// float reads a number in quotes.
func (s *scanner) float() (float64, bool) {
	if !s.take('"') {
		return 0, false
	}
	start := s.at
	value, digits := s.digits()
	if digits > 0 && digits <= 15 && s.at < len(s.data) && s.data[s.at] == '"' {
		s.at++
		return float64(value), true
	}
	end := bytes.IndexByte(s.data[start:], '"')
	if end < 0 {
		return 0, false
	}
	s.at = start + end + 1
	parsed, err := strconv.ParseFloat(string(s.data[start:start+end]), 64)
	return parsed, err == nil
}
