package h1

import (
	"bytes"
	"encoding/binary"
	"unsafe"
)

// malformed says why a message cannot be understood, and what a server answers to such a request.
type malformed struct {
	status int
	reason string
}

func (m *malformed) Error() string { return m.reason }

// bad makes the refusal of a message that is not what RFC 9112 wants. They are made once, since refusing
// must cost little.
func bad(reason string) *malformed { return &malformed{400, reason} }

var (
	errBareLF       = bad("a line does not end with CR LF")
	errFold         = bad("a header line begins with white space")
	errName         = bad("a header name is empty, has a character that names cannot have, or white space before the colon")
	errValue        = bad("a header value has a control character")
	errHeader       = bad("a header line has no colon")
	errLength       = bad("Content-Length is not a number")
	errLengths      = bad("there are two different Content-Lengths")
	errBoth         = bad("there are both Content-Length and Transfer-Encoding")
	errCodings      = bad("Transfer-Encoding is not a single chunked")
	errCoding10     = bad("HTTP/1.0 knows no Transfer-Encoding")
	errUnknown      = &malformed{501, "Transfer-Encoding other than chunked is not supported"}
	errAnnounced    = bad("Trailer announces a field that cannot be a trailer")
	errConnection   = bad("Connection names too many fields")
	errTooManyLines = &malformed{431, "there are too many header fields"}
	errTooLarge     = &malformed{431, "the head is too large"}
)

const (
	maxFields = 256
	maxTokens = 32 // in Connection
)

// head is the part that requests and responses have in common.
type head struct {
	b      []byte // all of it, with the empty line at its end
	fields []field
	minor  byte  // of the version
	length int64 // Content-Length; -1: none
	// lengthText is how that is written: another one of the same value might be read differently.
	lengthText string
	chunked    bool

	close, keepAlive, upgrade bool // said by Connection
	upgrades                  bool // there is an Upgrade field
	mesh                      bool // there is a sluice-* field
}

func (h *head) reset(b []byte) {
	fields := h.fields[:0]
	*h = head{b: b, fields: fields, length: -1}
}

// text returns a piece of the head without copying it: good for as long as the head is.
func (h *head) text(from, to uint32) string { return view(h.b[from:to]) }

func view(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

func (h *head) name(f *field) []byte    { return h.b[f.start:f.colon] }
func (h *head) content(f *field) string { return h.text(f.value, f.end) }

// find returns the value of the first field with that name, in lower case.
func (h *head) find(name string) (string, bool) {
	for i := range h.fields {
		f := &h.fields[i]
		if int(f.colon-f.start) == len(name) && equal(h.b[f.start:f.colon], name) {
			return h.content(f), true
		}
	}
	return "", false
}

// Bytes that names and methods may have.
var tokens = func() (t [256]bool) {
	for c := '0'; c <= '9'; c++ {
		t[c] = true
	}
	for c := 'a'; c <= 'z'; c++ {
		t[c], t[c-'a'+'A'] = true, true
	}
	for _, c := range "!#$%&'*+-.^_`|~" {
		t[c] = true
	}
	return t
}()

// emptyLine is a variable, since the compiler allocates the literal anew where a profile lets it inline the search.
var emptyLine = []byte("\r\n\r\n")

// headEnd returns the length of the head at the start of b, 0 when its end has not come yet, knowing that
// it does not end before scanned bytes.
func headEnd(b []byte, scanned int) (int, *malformed) {
	from := max(0, scanned-3)
	if i := bytes.Index(b[from:], emptyLine); i >= 0 {
		return from + i + 4, nil
	}
	// A head with other line ends would be waited for in vain.
	for i := max(0, scanned-1); ; i++ {
		lf := bytes.IndexByte(b[i:], '\n')
		if lf < 0 {
			return 0, nil
		}
		if i += lf; i == 0 || b[i-1] != '\r' {
			return 0, errBareLF
		}
	}
}

// parseFields reads the header lines from offset at up to the empty line that is known to be there.
func (h *head) parseFields(at int) *malformed {
	b := h.b
	connection := false
	for {
		if b[at] == '\r' {
			if at+2 != len(b) || b[at+1] != '\n' {
				return errBareLF
			}
			break
		}
		if len(h.fields) == maxFields {
			return errTooManyLines
		}
		i := at
		for tokens[b[i]] {
			i++
		}
		if b[i] != ':' || i == at {
			return nameFault(b, at, i)
		}
		f := field{start: uint32(at), colon: uint32(i)}
		i++
		for b[i] == ' ' || b[i] == '\t' {
			i++
		}
		f.value = uint32(i)
		i = valueEnd(b, i)
		if b[i] != '\r' || b[i+1] != '\n' {
			if b[i] == '\n' {
				return errBareLF
			}
			return errValue
		}
		f.next = uint32(i + 2)
		for uint32(i) > f.value && (b[i-1] == ' ' || b[i-1] == '\t') {
			i--
		}
		f.end = uint32(i)
		f.kind = classify(b[f.start:f.colon])
		if f.kind != plain {
			connection = connection || f.kind == connectionField
			if m := h.note(&f); m != nil {
				return m
			}
		}
		h.fields = append(h.fields, f)
		at = int(f.next)
	}
	if connection {
		if m := h.parseConnection(); m != nil {
			return m
		}
	}
	if h.chunked && h.length >= 0 {
		return errBoth
	}
	if h.chunked && h.minor == 0 {
		return errCoding10
	}
	return nil
}

func nameFault(b []byte, start, at int) *malformed {
	switch {
	case at == start && (b[at] == ' ' || b[at] == '\t'):
		return errFold
	case b[at] == '\n':
		return errBareLF
	case b[at] == '\r':
		return errHeader
	}
	return errName
}

// valueEnd returns the offset of the first byte that cannot be in a value: CR, in a good head.
func valueEnd(b []byte, i int) int {
	const ones, tops = 0x0101010101010101, 0x8080808080808080
	for {
		for i+8 <= len(b) {
			v := binary.LittleEndian.Uint64(b[i:])
			below := (v - 0x20*ones) &^ v & tops // some byte below 0x20
			d := v ^ 0x7f*ones
			if below|((d-ones)&^d&tops) != 0 { // or DEL
				break
			}
			i += 8
		}
		for n := 0; n < 8; n++ {
			c := b[i]
			if c < 0x20 && c != '\t' || c == 0x7f {
				return i
			}
			i++
		}
	}
}

// note takes in what a field says about the message's framing.
func (h *head) note(f *field) *malformed {
	switch f.kind {
	case lengthField:
		value := h.b[f.value:f.end]
		n, ok := parseLength(value)
		switch {
		case !ok:
			return errLength
		case h.length >= 0 && h.lengthText != view(value):
			return errLengths
		case h.length >= 0:
			f.kind = droppedField
		}
		h.length, h.lengthText = n, view(value)
	case codingField:
		if h.chunked || !equal(h.b[f.value:f.end], "chunked") {
			return codingFault(h.b[f.value:f.end])
		}
		h.chunked = true
	case trailerField:
		for list := view(h.b[f.value:f.end]); list != ""; {
			var name string
			name, list = nextToken(list)
			if k := classify([]byte(name)); k == lengthField || k == codingField || k == trailerField {
				return errAnnounced
			}
		}
	case upgradeField:
		h.upgrades = true
	case meshField:
		h.mesh = true
	}
	return nil
}

// parseConnection reads what the Connection fields say, and marks the fields that they name as ending here.
// Those that say where a message goes and where it ends are not for a sender to take away.
func (h *head) parseConnection() *malformed {
	count := 0
	for i := range h.fields {
		if h.fields[i].kind != connectionField {
			continue
		}
		for list := h.content(&h.fields[i]); list != ""; {
			var token string
			token, list = nextToken(list)
			if count++; count > maxTokens {
				return errConnection
			}
			switch {
			case token == "":
			case fold(token, "close"):
				h.close = true
			case fold(token, "keep-alive"):
				h.keepAlive = true
			case fold(token, "upgrade"):
				h.upgrade = true
			default:
				h.endHere(token)
			}
		}
	}
	return nil
}

func (h *head) endHere(name string) {
	for i := range h.fields {
		f := &h.fields[i]
		if f.kind == plain && int(f.colon-f.start) == len(name) && fold(view(h.name(f)), name) {
			f.kind = hopField
		}
	}
}
