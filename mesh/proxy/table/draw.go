package table

import (
	"sync/atomic"

	"github.com/sluice-mesh/sluice/mesh/ir"
	"github.com/sluice-mesh/sluice/mesh/proxy/telemetry"
)

// Rand returns a uniform number below n, which is at least 1. It must be safe for concurrent use;
// math/rand/v2.Uint32N is.
type Rand func(n uint32) uint32

// Draw is the outcome of one draw: the revision that a request belongs to until it is done, whatever the
// configuration does meanwhile.
type Draw struct {
	// Revision drawn; "" for endpoints without one, and when the service has no endpoint at all.
	Revision string
	// Series to count the request with.
	Series *telemetry.Series

	group *group
}

// lot is groups with their shares of a draw.
type lot struct {
	choices []choice
	total   uint32
}

type choice struct {
	below uint32 // drawn when the number is below this and not below an earlier one's
	group *group
}

// add adds a group, if it has a share.
func (l *lot) add(g *group, weight uint32) {
	if g != nil && weight > 0 {
		l.total += weight
		l.choices = append(l.choices, choice{l.total, g})
	}
}

// draw returns one of the groups at random; nil when there is none.
func (l *lot) draw(random Rand) *group {
	if len(l.choices) == 0 {
		return nil
	}
	if len(l.choices) > 1 {
		number := random(l.total)
		for _, c := range l.choices {
			if number < c.below {
				return c.group
			}
		}
	}
	return l.choices[0].group
}

// group is the members of a revision with the series that their requests are counted with: those that were
// drawn by the split, and those that were not, which have the weight label "".
type group struct {
	*members
	counted, unjudged *counted
}

// drawn makes a draw of the group.
func (g *group) drawn(judged bool) Draw {
	c := g.counted
	if !judged {
		c = g.unjudged
	}
	return Draw{Revision: g.revision, Series: c.get(), group: g}
}

// counted makes its series when the first request is drawn, so that a proxy has series of the services
// that it calls and not of all that there are.
type counted struct {
	key      telemetry.Key
	recorder *telemetry.Recorder
	series   atomic.Pointer[telemetry.Series]
}

// get returns the series; nil for a nil counted.
func (c *counted) get() *telemetry.Series {
	if c == nil {
		return nil
	}
	if s := c.series.Load(); s != nil {
		return s
	}
	s := c.recorder.Series(c.key)
	c.series.Store(s)
	return s
}

// Draw decides at random which revision the next request goes to, by the split's shares, independently
// of every other draw.
func (p *Port) Draw(random Rand) Draw {
	g := p.all.draw(random)
	if g == nil {
		return Draw{Series: p.none.get()}
	}
	return g.drawn(true)
}

// side draws from one side of the split; nil where that has no share, or any side will do.
func (p *Port) side(revision ir.Revision, random Rand) *group {
	switch revision {
	case ir.StableRevision:
		return p.stable.draw(random)
	case ir.CanaryRevision:
		return p.canary.draw(random)
	default:
		return nil
	}
}

// Streams returns where a long-lived connection of this draw is to be entered; nil when the service has
// no endpoint.
func (d Draw) Streams() *Streams {
	if d.group == nil {
		return nil
	}
	return d.group.streams
}
