package h2

import "sync"

// blockParts bounds the frames of one header block. Their bytes are bounded too; empty ones cost as well.
const blockParts = 64

// headers begins a header block.
func (l *link) headers(b *batch, f frame) error {
	if f.id == 0 {
		return connError{codeProtocol, "HEADERS on stream 0"}
	}
	p, err := f.unpadded()
	if err != nil {
		return err
	}
	if f.has(flagPriority) {
		if len(p) < 5 {
			return connError{codeFrameSize, "HEADERS too short"}
		}
		if uint32(p[0]&0x7f)<<24|uint32(p[1])<<16|uint32(p[2])<<8|uint32(p[3]) == f.id {
			return connError{codeProtocol, "stream depends on itself"}
		}
		p = p[5:]
	}
	l.blockID, l.blockEnd, l.parts = f.id, f.has(flagEndStream), 0
	if f.has(flagEndHeaders) {
		return l.decode(b, p)
	}
	return l.continued(b, p, false)
}

// continued collects a block that comes in parts, since the bounds must hold before anything is decoded.
func (l *link) continued(b *batch, p []byte, last bool) error {
	l.parts++
	if l.parts > blockParts || len(l.block)+len(p) > l.listMax+maxFrame {
		return connError{codeEnhanceYour, "header block too large"}
	}
	l.block = append(l.block, p...)
	if !last {
		return nil
	}
	block := l.block
	l.block = nil
	return l.decode(b, block)
}

// decode decodes a whole block, beyond listMax without keeping it: HPACK's table must stay in step.
func (l *link) decode(b *batch, block []byte) error {
	id := l.blockID
	l.blockID, l.listSize = 0, 0
	l.fields = getFields()
	l.dec.SetEmitEnabled(true)
	_, err := l.dec.Write(block)
	if err == nil {
		err = l.dec.Close()
	}
	fields := l.fields
	l.fields = nil
	if err != nil {
		return connError{codeCompression, err.Error()}
	}
	return l.role.headers(b, id, fields, l.listSize > l.listMax, l.blockEnd)
}

func (l *link) emit(f field) {
	if l.listSize += int(f.Size()); l.listSize > l.listMax {
		l.dec.SetEmitEnabled(false)
		return
	}
	l.fields = append(l.fields, f)
}

// Lists of fields are lent.
const listSize = 24

var lists = sync.Pool{New: func() any { return new([listSize]field) }}

func getFields() []field { return lists.Get().(*[listSize]field)[:0] }

func putFields(fields []field) {
	if cap(fields) == listSize {
		p := (*[listSize]field)(fields[:listSize])
		clear(p[:])
		lists.Put(p)
	}
}

// data handles DATA.
func (l *link) data(b *batch, f frame) error {
	if f.id == 0 || l.idle(f.id) {
		return connError{codeProtocol, "DATA on an idle stream"}
	}
	data, err := f.unpadded()
	if err != nil {
		return err
	}
	size, end := int64(len(f.payload)), f.has(flagEndStream)
	if l.allowed.Add(-size) < 0 {
		return connError{codeFlowControl, "more DATA than the connection's window"}
	}
	g := l.leg(f.id)
	if g == nil {
		l.credit(b, size)
		if byUs, found := l.lately(f.id); found && !byUs { // those of long ago may have been reset as well
			l.refuse(b, f.id, codeStreamClosed)
			return l.abused()
		}
		return l.waste()
	}
	if c, why := g.stream.data(b, g, data, size, end); why != "" {
		g.stream.broken(b, g, c, why)
		return l.abused()
	}
	if len(data) == 0 && !end {
		return l.waste()
	}
	return nil
}
