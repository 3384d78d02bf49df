package h1

import (
	"bytes"
	"math"
)

// kind of a header field, as far as this engine cares.
type kind uint8

const (
	plain kind = iota
	hostField
	lengthField
	codingField
	connectionField
	upgradeField
	teField
	trailerField // announces trailers
	hopField     // ends here in any case
	meshField    // sluice-*
	droppedField // of no meaning any more
)

// field is one header line: [start, colon) is its name, [value, end) its value without white space around,
// next where the next line begins.
type field struct {
	start, colon, value, end, next uint32
	kind                           kind
}

// classify tells the fields that matter to this engine from all others.
func classify(name []byte) kind {
	switch len(name) {
	case 2:
		if equal(name, "te") {
			return teField
		}
	case 4:
		if equal(name, "host") {
			return hostField
		}
	case 7:
		switch {
		case equal(name, "upgrade"):
			return upgradeField
		case equal(name, "trailer"):
			return trailerField
		}
	case 10:
		switch {
		case equal(name, "connection"):
			return connectionField
		case equal(name, "keep-alive"):
			return hopField
		}
	case 14:
		if equal(name, "content-length") {
			return lengthField
		}
	case 16:
		if equal(name, "proxy-connection") {
			return hopField
		}
	case 17:
		if equal(name, "transfer-encoding") {
			return codingField
		}
	}
	if len(name) > 7 && name[6] == '-' && equal(name[:7], "sluice-") {
		return meshField
	}
	return plain
}

// equal compares with a text in lower case, without regard to case.
func equal(b []byte, lower string) bool {
	if len(b) != len(lower) {
		return false
	}
	for i, c := range b {
		if c >= 'A' && c <= 'Z' {
			c |= 0x20
		}
		if c != lower[i] {
			return false
		}
	}
	return true
}

// fold compares two texts without regard to the case of letters.
func fold(a, b string) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range len(a) {
		x, y := a[i], b[i]
		if x >= 'A' && x <= 'Z' {
			x |= 0x20
		}
		if y >= 'A' && y <= 'Z' {
			y |= 0x20
		}
		if x != y {
			return false
		}
	}
	return true
}

// codingFault tells codings that somebody may mean from attempts at confusion.
func codingFault(value []byte) *malformed {
	for list := view(value); list != ""; {
		var coding string
		if coding, list = nextToken(list); equal([]byte(coding), "gzip") || equal([]byte(coding), "deflate") || equal([]byte(coding), "compress") {
			return errUnknown
		}
	}
	if bytes.IndexByte(value, ',') >= 0 || len(value) == 0 || equal(value, "chunked") {
		return errCodings
	}
	return errUnknown
}

func parseLength(b []byte) (int64, bool) {
	if len(b) == 0 || len(b) > 18 {
		return 0, false
	}
	n := int64(0)
	for _, c := range b {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + int64(c-'0')
	}
	return n, n <= math.MaxInt64/2
}

// nextToken takes the first element off a list with commas.
func nextToken(list string) (token, rest string) {
	i := 0
	for i < len(list) && list[i] != ',' {
		i++
	}
	token = list[:i]
	if i < len(list) {
		i++
	}
	for token != "" && (token[0] == ' ' || token[0] == '\t') {
		token = token[1:]
	}
	for token != "" && (token[len(token)-1] == ' ' || token[len(token)-1] == '\t') {
		token = token[:len(token)-1]
	}
	return token, list[i:]
}
