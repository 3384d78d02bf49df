package h2

import "time"

const (
	// silentUpstream is how long streams may wait for a frame before we ask whether the endpoint is alive, and
	// aliveTime how long it may take to answer.
	silentUpstream = 10 * time.Second
	aliveTime      = 3 * time.Second
	// askInterval and askEarly are what gRPC's servers put up with by default from a client to which they have
	// nothing to say: a PING every five minutes, and two more. Then they end the connection with all its streams
	// (ENHANCE_YOUR_CALM, "too_many_pings"), until they have sent HEADERS or DATA, which counts anew (gRPC A8).
	askInterval = 5 * time.Minute
	askEarly    = 2
)

// asking finds out whether an endpoint is alive whose streams wait. It is the pool's janitor's, under the link's
// lock.
type asking struct {
	silent  time.Duration // for how long there was no frame while there were streams
	asked   bool          // the last PING is not answered yet
	since   time.Duration // the last PING
	early   int           // PINGs within askInterval of the one before, since HEADERS or DATA came
	streams uint32        // next id of the link at the last PING
}

// permitted reports whether the endpoint takes another PING, and notes that it gets it. The early ones are kept
// for when somebody waits who has come since the last: streams that are just silent can do without.
func (a *asking) permitted(brought bool, next uint32) bool {
	switch {
	case brought:
		a.early = 0
	case a.streams == 0 || a.since >= askInterval:
	case a.streams != next && a.early < askEarly:
		a.early++
	default:
		return false
	}
	a.asked, a.silent, a.since, a.streams = true, silentUpstream, 0, next
	return true
}

// checkAlive is called now and then; the lock is held. An endpoint that does not answer loses the link.
func (u *upstream) checkAlive(b *batch, passed time.Duration) {
	a, handled := &u.asking, u.frames.Load()
	a.since += passed
	if len(u.legs) == 0 || handled != u.handled {
		a.silent, a.asked = 0, false
	} else {
		a.silent += passed
	}
	u.handled = handled
	switch {
	case a.silent < silentUpstream:
	case a.asked:
		if a.silent >= silentUpstream+aliveTime {
			u.abort()
		}
	default:
		if out := u.room(); out != nil && a.permitted(u.brought.Swap(false), u.next) {
			out.b = appendPing(out.b, false, drainPing)
			u.mark(b)
		}
	}
}
