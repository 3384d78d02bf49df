package h2

import (
	"encoding/binary"
	"fmt"
)

// preface is what a client begins with (RFC 9113, 3.4).
const preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

// Frame types (RFC 9113, 6).
const (
	typeData         = 0x0
	typeHeaders      = 0x1
	typePriority     = 0x2
	typeReset        = 0x3
	typeSettings     = 0x4
	typePushPromise  = 0x5
	typePing         = 0x6
	typeGoAway       = 0x7
	typeWindowUpdate = 0x8
	typeContinuation = 0x9
)

// Flags.
const (
	flagEndStream  = 0x1
	flagAck        = 0x1
	flagEndHeaders = 0x4
	flagPadded     = 0x8
	flagPriority   = 0x20
)

// Settings (RFC 9113, 6.5.2).
const (
	settingTableSize     = 0x1
	settingEnablePush    = 0x2
	settingMaxStreams    = 0x3
	settingInitialWindow = 0x4
	settingMaxFrame      = 0x5
	settingMaxList       = 0x6
)

const (
	frameHead     = 9
	defaultWindow = 65535
	maxWindow     = 1<<31 - 1
	maxID         = 1<<31 - 1
	minTableSize  = 4096
)

// code is an error code (RFC 9113, 7).
type code uint32

const (
	codeNo           code = 0x0
	codeProtocol     code = 0x1
	codeInternal     code = 0x2
	codeFlowControl  code = 0x3
	codeStreamClosed code = 0x5
	codeFrameSize    code = 0x6
	codeRefused      code = 0x7
	codeCancel       code = 0x8
	codeCompression  code = 0x9
	codeEnhanceYour  code = 0xb
)

// connError ends a connection.
type connError struct {
	code code
	why  string
}

func (e connError) Error() string { return fmt.Sprintf("HTTP/2 error %d: %s", e.code, e.why) }

// frame is one frame as it lies in the link's buffer.
type frame struct {
	kind, flags byte
	id          uint32
	payload     []byte
}

func (f frame) has(flag byte) bool { return f.flags&flag != 0 }

// unpadded returns the payload without padding.
func (f frame) unpadded() ([]byte, error) {
	if !f.has(flagPadded) {
		return f.payload, nil
	}
	if len(f.payload) == 0 {
		return nil, connError{codeFrameSize, "padded frame without a length"}
	}
	pad, rest := int(f.payload[0]), f.payload[1:]
	if pad > len(rest) {
		return nil, connError{codeProtocol, "more padding than payload"}
	}
	return rest[:len(rest)-pad], nil
}

func appendHead(b []byte, size int, kind, flags byte, id uint32) []byte {
	b = append(b, byte(size>>16), byte(size>>8), byte(size), kind, flags)
	return binary.BigEndian.AppendUint32(b, id)
}

func appendData(b []byte, id uint32, data []byte, end bool) []byte {
	var flags byte
	if end {
		flags = flagEndStream
	}
	return append(appendHead(b, len(data), typeData, flags, id), data...)
}

func appendReset(b []byte, id uint32, c code) []byte {
	return binary.BigEndian.AppendUint32(appendHead(b, 4, typeReset, 0, id), uint32(c))
}

func appendWindowUpdate(b []byte, id uint32, n int64) []byte {
	return binary.BigEndian.AppendUint32(appendHead(b, 4, typeWindowUpdate, 0, id), uint32(n))
}

func appendPing(b []byte, ack bool, data []byte) []byte {
	var flags byte
	if ack {
		flags = flagAck
	}
	return append(appendHead(b, 8, typePing, flags, 0), data...)
}

func appendGoAway(b []byte, last uint32, c code, why string) []byte {
	b = appendHead(b, 8+len(why), typeGoAway, 0, 0)
	b = binary.BigEndian.AppendUint32(b, last)
	b = binary.BigEndian.AppendUint32(b, uint32(c))
	return append(b, why...)
}

// appendSettings takes pairs of a setting and its value.
func appendSettings(b []byte, pairs ...uint32) []byte {
	b = appendHead(b, len(pairs)*3, typeSettings, 0, 0)
	for i := 0; i < len(pairs); i += 2 {
		b = binary.BigEndian.AppendUint16(b, uint16(pairs[i]))
		b = binary.BigEndian.AppendUint32(b, pairs[i+1])
	}
	return b
}

// closeHeaders fills in the head of the HEADERS frame that was begun at start, and cuts the block into
// CONTINUATION frames where it is too long for one.
func closeHeaders(b []byte, start int, id uint32, end bool) []byte {
	var flags byte
	if end {
		flags = flagEndStream
	}
	block := b[start+frameHead:]
	if len(block) <= maxFrame {
		appendHead(b[:start], len(block), typeHeaders, flags|flagEndHeaders, id)
		return b
	}
	rest := append([]byte(nil), block[maxFrame:]...)
	appendHead(b[:start], maxFrame, typeHeaders, flags, id)
	b = b[:start+frameHead+maxFrame]
	for len(rest) > 0 {
		n := min(len(rest), maxFrame)
		flags = 0
		if n == len(rest) {
			flags = flagEndHeaders
		}
		b = append(appendHead(b, n, typeContinuation, flags, id), rest[:n]...)
		rest = rest[n:]
	}
	return b
}
