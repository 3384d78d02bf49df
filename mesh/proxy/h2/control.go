package h2

import "encoding/binary"

func (l *link) resetFrame(b *batch, f frame) error {
	switch {
	case f.id == 0 || l.idle(f.id):
		return connError{codeProtocol, "RST_STREAM on an idle stream"}
	case len(f.payload) != 4:
		return connError{codeFrameSize, "RST_STREAM of a wrong size"}
	}
	g := l.leg(f.id)
	if g == nil {
		return l.waste()
	}
	g.stream.reset(b, g, code(binary.BigEndian.Uint32(f.payload)))
	return l.abused()
}

// abused counts a stream that the client has reset or made us reset. Each costs work at an endpoint, so that a
// client must not begin and abandon without end; the limit lets it abandon all that it may have open, twice.
func (l *link) abused() error {
	if limit := float64(l.maxStreams); l.server && !l.resets.take(l.now, 2*limit, limit) {
		return connError{codeEnhanceYour, "too many streams reset"}
	}
	return nil
}

func (l *link) ping(b *batch, f frame) error {
	switch {
	case f.id != 0:
		return connError{codeProtocol, "PING on a stream"}
	case len(f.payload) != 8:
		return connError{codeFrameSize, "PING of a wrong size"}
	case f.has(flagAck):
		l.role.pong(b, f.payload)
		return l.waste()
	}
	l.mu.Lock()
	if out := l.room(); out != nil {
		out.b = appendPing(out.b, true, f.payload)
		l.mark(b)
	}
	earned := l.pay()
	l.mu.Unlock()
	if earned {
		return nil
	}
	return l.waste()
}

// pay reports whether the frame was earned by DATA of ours: receivers grant window and probe the bandwidth as
// data comes. The lock is held.
func (l *link) pay() bool {
	l.earned = max(l.earned-1, 0)
	return l.earned > 0
}

func (l *link) settings(b *batch, f frame) error {
	switch {
	case f.id != 0:
		return connError{codeProtocol, "SETTINGS on a stream"}
	case f.has(flagAck) && len(f.payload) != 0, len(f.payload)%6 != 0:
		return connError{codeFrameSize, "SETTINGS of a wrong size"}
	case f.has(flagAck):
		if !l.begun {
			return connError{codeProtocol, "no SETTINGS first"}
		}
		return l.waste()
	}
	if l.server && !l.changes.take(l.now, 1000, 100) {
		return connError{codeEnhanceYour, "too many SETTINGS"}
	}
	l.mu.Lock()
	err := l.apply(f.payload)
	if out := l.room(); out != nil && err == nil {
		out.b = appendHead(out.b, 0, typeSettings, flagAck, 0)
		l.mark(b)
	}
	var all []*leg
	for _, g := range l.legs { // those that wait for their own window are on no list
		all = append(all, g)
	}
	l.mu.Unlock()
	if err != nil {
		return err
	}
	for _, g := range all {
		g.stream.woken(b, g)
	}
	if !l.begun {
		l.begun = true
		l.role.settled(b)
	}
	return nil
}

// apply puts the peer's settings in force; mu is held.
func (l *link) apply(p []byte) error {
	for ; len(p) > 0; p = p[6:] {
		value := binary.BigEndian.Uint32(p[2:])
		switch binary.BigEndian.Uint16(p) {
		case settingTableSize:
			l.enc.resize(value)
		case settingEnablePush:
			if value > 1 || value == 1 && !l.server {
				return connError{codeProtocol, "bad ENABLE_PUSH"}
			}
		case settingMaxStreams:
			l.limit = value
		case settingInitialWindow:
			if value > maxWindow {
				return connError{codeFlowControl, "INITIAL_WINDOW_SIZE too large"}
			}
			l.initial = int64(value)
			for _, g := range l.legs {
				if l.initial+g.window > maxWindow {
					return connError{codeFlowControl, "window too large"}
				}
			}
		case settingMaxFrame:
			if value < maxFrame || value >= 1<<24 {
				return connError{codeProtocol, "bad MAX_FRAME_SIZE"}
			}
		}
	}
	return nil
}

func (l *link) windowUpdate(b *batch, f frame) error {
	if len(f.payload) != 4 {
		return connError{codeFrameSize, "WINDOW_UPDATE of a wrong size"}
	}
	n := int64(binary.BigEndian.Uint32(f.payload) & maxID)
	if f.id == 0 {
		l.mu.Lock()
		opens := l.window <= 0
		l.window += n
		window, earned := l.window, n >= largeUpdate || l.pay()
		l.mu.Unlock()
		switch {
		case n == 0:
			return connError{codeProtocol, "WINDOW_UPDATE of nothing"}
		case window > maxWindow:
			return connError{codeFlowControl, "window too large"}
		}
		if opens { // else those who wait do so for room in the buffer
			l.wake(b)
		}
		if earned {
			return nil
		}
		return l.waste()
	}
	if l.idle(f.id) {
		return connError{codeProtocol, "WINDOW_UPDATE on an idle stream"}
	}
	l.mu.Lock()
	g, earned := l.legs[f.id], n >= largeUpdate || l.pay()
	var bad code
	if g != nil {
		if g.window += n; n == 0 {
			bad = codeProtocol
		} else if l.initial+g.window > maxWindow {
			bad = codeFlowControl
		}
	}
	l.mu.Unlock()
	switch {
	case g == nil:
		return l.waste()
	case bad != 0:
		g.stream.broken(b, g, bad, "bad WINDOW_UPDATE")
		return l.abused()
	}
	g.stream.woken(b, g)
	if earned {
		return nil
	}
	return l.waste()
}

// largeUpdate is a WINDOW_UPDATE that needs no earning: large ones bound themselves, since windows have an end.
const largeUpdate = 1024
