package table

import (
	"slices"

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

// Draw decides at random which revision the next request goes to, by the split's shares, independently
// of every other draw.
func (p *Port) Draw(random Rand) Draw {
	if len(p.choices) == 0 {
		return Draw{Series: p.none.get()}
	}
	g := p.choices[0].group
	if len(p.choices) > 1 {
		number := random(p.total)
		for _, c := range p.choices {
			if number < c.below {
				g = c.group
				break
			}
		}
	}
	return Draw{Revision: g.revision, Series: g.counted.get(), group: g}
}

// Pick chooses an endpoint of the drawn revision that has not been tried: of two at random the one with
// fewer requests in flight. Nil when there is none (left).
func (d Draw) Pick(random Rand, tried []*Endpoint) *Endpoint {
	if d.group == nil {
		return nil
	}
	candidates := d.group.endpoints
	if len(tried) > 0 {
		candidates = slices.DeleteFunc(slices.Clone(candidates), func(e *Endpoint) bool {
			return slices.Contains(tried, e)
		})
	}
	switch n := uint32(len(candidates)); n {
	case 0:
		return nil
	case 1:
		return candidates[0]
	default:
		i := random(n)
		j := random(n - 1)
		if j >= i {
			j++
		}
		a, b := candidates[i], candidates[j]
		if b.active.Load() < a.active.Load() {
			return b
		}
		return a
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
