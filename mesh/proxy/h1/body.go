package h1

var (
	errChunkSize = bad("a chunk's size is not a hexadecimal number")
	errChunkLine = bad("a chunk's line is too long or has a control character")
	errChunkEnd  = bad("a chunk does not end where its size says")
	errTrailer   = bad("a trailer is malformed, too long, or says how the message is framed")
	errOverhead  = bad("a body has too many small chunks with too long lines")
)

// body follows one message's body through the bytes that come, to find its end. The bytes go on as they
// came, once they are known to be good.
type body struct {
	framing framing
	done    bool
	left    int64 // of the length, or of the chunk
	state   chunkState
	digits  int
	line    int // bytes of this line
	excess  int64
	trailer [20]byte // name of a trailer
}

type framing uint8

const (
	byLength framing = iota
	byChunks
	byClose
)

func (b *body) reset(f framing, length int64) {
	b.framing, b.left, b.done = f, length, f == byLength && length == 0
	b.state, b.digits, b.line, b.excess = sizeFirst, 0, 0, 0
}

// follow begins with the body of a response to the method.
func (b *body) follow(r *response, method string) {
	switch {
	case r.bodyless(method):
		b.reset(byLength, 0)
	case r.chunked:
		b.reset(byChunks, 0)
	case r.length >= 0:
		b.reset(byLength, r.length)
	default:
		b.reset(byClose, 0)
	}
}

// take returns how many bytes at the start of p belong to the body.
func (b *body) take(p []byte) (int, *malformed) {
	switch {
	case b.done:
		return 0, nil
	case b.framing == byClose:
		return len(p), nil
	case b.framing == byLength:
		n := int(min(int64(len(p)), b.left))
		b.left -= int64(n)
		b.done = b.left == 0
		return n, nil
	}
	return b.takeChunks(p)
}

type chunkState uint8

const (
	sizeFirst chunkState = iota
	size
	extension
	sizeLF
	data
	dataCR
	dataLF
	trailerFirst
	trailerName
	trailerValue
	trailerLF
	endLF
)

const (
	maxChunkLine = 1 << 10 // extensions are hardly ever used
	maxTrailer   = 3 << 10 // of all trailers
	maxExcess    = 8 << 10 // that lines take beyond twice the data and 16 bytes each
)

// takeChunks reads the chunked coding of RFC 9112, 7.1, byte by byte but for the data.
func (b *body) takeChunks(p []byte) (int, *malformed) {
	for i := 0; i < len(p); {
		if b.state == data {
			n := int(min(int64(len(p)-i), b.left))
			i += n
			if b.left -= int64(n); b.left == 0 {
				b.state = dataCR
			}
			continue
		}
		c := p[i]
		i++
		if m := b.step(c); m != nil {
			return 0, m
		}
		if b.done {
			return i, nil
		}
	}
	return len(p), nil
}

func (b *body) step(c byte) *malformed {
	switch b.state {
	case sizeFirst, size:
		return b.sizeByte(c)
	case extension:
		if b.line++; c == '\r' {
			b.state = sizeLF
		} else if c < 0x20 && c != '\t' || c == 0x7f || b.line > maxChunkLine {
			return errChunkLine
		}
	case sizeLF:
		if c != '\n' {
			return errChunkLine
		}
		// Many small chunks with long lines cost much and carry little (as net/http counts it, and stricter).
		b.excess = max(0, b.excess+int64(b.line)+2-16-2*b.left)
		switch {
		case b.excess > maxExcess:
			return errOverhead
		case b.left == 0:
			b.state, b.line = trailerFirst, 0
		default:
			b.state = data
		}
		b.digits = 0
	case dataCR, dataLF:
		if want := "\r\n"[b.state-dataCR]; c != want {
			return errChunkEnd
		}
		b.state++
		if c == '\n' {
			b.state = sizeFirst
		}
	case endLF:
		if c != '\n' {
			return errTrailer
		}
		b.done = true
	default:
		return b.trailerByte(c)
	}
	return nil
}

func (b *body) sizeByte(c byte) *malformed {
	if b.state == sizeFirst {
		b.left, b.line, b.state = 0, 0, size
	}
	b.line++
	switch digit := unhex(c); {
	case digit >= 0 && b.digits < 15:
		b.digits++
		b.left = b.left<<4 | int64(digit)
	case digit >= 0 || b.digits == 0:
		return errChunkSize
	case c == ';':
		b.state = extension
	case c == '\r':
		b.state = sizeLF
	default:
		return errChunkSize
	}
	return nil
}

func (b *body) trailerByte(c byte) *malformed {
	if b.line++; b.line > maxTrailer {
		return errTrailer
	}
	switch b.state {
	case trailerFirst:
		if c == '\r' {
			b.state = endLF
			return nil
		}
		b.state, b.digits = trailerName, 0
		fallthrough
	case trailerName:
		if c == ':' && b.digits > 0 {
			b.state = trailerValue
			return b.judgeTrailer()
		}
		if !tokens[c] {
			return errTrailer
		}
		if b.digits < len(b.trailer) {
			b.trailer[b.digits] = c
		}
		b.digits++
	case trailerValue:
		if c == '\r' {
			b.state = trailerLF
		} else if c < 0x20 && c != '\t' || c == 0x7f {
			return errTrailer
		}
	case trailerLF:
		if c != '\n' {
			return errTrailer
		}
		b.state = trailerFirst
	}
	return nil
}

// judgeTrailer refuses those that somebody behind us might merge into the head with consequences.
func (b *body) judgeTrailer() *malformed {
	if b.digits > len(b.trailer) {
		return nil
	}
	switch classify(b.trailer[:b.digits]) {
	case hostField, lengthField, codingField, connectionField, trailerField, meshField:
		return errTrailer
	}
	return nil
}
