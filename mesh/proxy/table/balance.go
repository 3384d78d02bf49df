package table

import (
	"cmp"
	"slices"
	"time"

	"github.com/sluice-mesh/sluice/mesh/ir"
)

// members are the endpoints of one revision that take new requests on one port.
type members struct {
	revision  string
	endpoints []*Endpoint // those in the caller's zone first
	// locals is how many of them are in the caller's zone, 0 where that does not matter, and zones how many
	// zones there are.
	locals, zones int
	streams       *Streams
	circuit       *circuit

	balance   ir.Balance
	limits    ir.Limits
	outlier   *ir.Outlier
	ring      ring  // nil where nothing is hashed
	slowUntil int64 // when the youngest endpoint has grown up, in nanoseconds since 1970
}

// field is what one pick chooses among.
type field struct {
	list []*Endpoint
	fit  int // how many of the list do
	// Endpoints that do not fit: those tried, and those ejected at a time; 0: ejections do not count.
	tried   []*Endpoint
	ejected int64
	// slow is the time by which endpoints are young, 0 when none is.
	slow int64
}

func (f *field) fits(e *Endpoint) bool {
	return (f.ejected == 0 || !e.ejectedAt(f.ejected)) && !slices.Contains(f.tried, e)
}

// of narrows the field to a list.
func (f *field) of(list []*Endpoint) *field {
	f.list, f.fit = list, len(list)
	if f.ejected != 0 || len(f.tried) > 0 {
		f.fit = 0
		for _, e := range list {
			if f.fits(e) {
				f.fit++
			}
		}
	}
	return f
}

// at returns the n-th that fits, n below fit; the last of the list when one of them was ejected meanwhile.
func (f *field) at(n int) *Endpoint {
	if f.fit == len(f.list) {
		return f.list[n]
	}
	for _, e := range f.list {
		if f.fits(e) {
			if n == 0 {
				return e
			}
			n--
		}
	}
	return f.list[len(f.list)-1]
}

// pick chooses the endpoint for a try: not an ejected one unless too many are, not one that has been tried
// unless all have. Nil when there is no endpoint at all.
func (m *members) pick(random Rand, tried []*Endpoint, hash uint64, hashed bool, at time.Time) *Endpoint {
	if len(m.endpoints) == 0 {
		return nil
	}
	now := at.UnixNano()
	f := &field{tried: tried}
	if now < m.slowUntil {
		f.slow = now
	}
	if m.outlier != nil && now < m.circuit.ejecting.Load() && !m.panics(now) {
		f.ejected = now
	}
	for {
		if hashed && m.ring != nil {
			f.list = m.endpoints
			if e := m.ring.find(hash, f); e != nil {
				return e
			}
		} else if m.narrow(f, random); f.fit > 0 {
			return m.choose(f, random)
		}
		if len(f.tried) == 0 {
			f.ejected = 0 // the last healthy one was ejected meanwhile
		}
		f.tried = nil
	}
}

// panics reports whether so few endpoints are healthy that ejections would only overload those.
func (m *members) panics(now int64) bool {
	healthy := 0
	for _, e := range m.endpoints {
		if !e.ejectedAt(now) {
			healthy++
		}
	}
	return healthy*100 < len(m.endpoints)*int(cmp.Or(m.balance.Panic, 50))
}

// overprovisioning is by how much a zone is taken to be able to serve more than its even share, in percent.
const overprovisioning = 140

// narrow chooses the zone and fills the field with what fits there. Callers are taken to be spread evenly
// over the zones, so a zone's endpoints suffice while they are as large a part of all as the zone is of all
// zones, give or take overprovisioning; of what they cannot take the rest goes to the other zones.
func (m *members) narrow(f *field, random Rand) {
	if m.locals == 0 {
		f.of(m.endpoints)
		return
	}
	tried := f.tried
	f.tried = nil // those are healthy for all we know
	others := f.of(m.endpoints[m.locals:]).fit
	local := f.of(m.endpoints[:m.locals]).fit
	f.tried = tried
	capacity, need := uint32(local*m.zones*overprovisioning), uint32((local+others)*100)
	if capacity >= need || random(need) < capacity {
		if f.of(m.endpoints[:m.locals]).fit > 0 {
			return
		}
		f.of(m.endpoints[m.locals:])
		return
	}
	if f.of(m.endpoints[m.locals:]).fit == 0 {
		f.of(m.endpoints[:m.locals])
	}
}

// choose takes one of the field, of which at least one fits.
func (m *members) choose(f *field, random Rand) *Endpoint {
	switch {
	case f.fit == 1:
		return f.at(0)
	case m.balance.Balancer == ir.RoundRobin:
		return m.next(f, random)
	case m.balance.Balancer == ir.LeastRequest:
		i := m.draw(f, random, -1)
		a, b := f.at(i), f.at(m.draw(f, random, i))
		if b.Active() < a.Active() {
			return b
		}
		return a
	default:
		return f.at(m.draw(f, random, -1))
	}
}

// patience bounds how often an endpoint in its slow start is passed over in one choice.
const patience = 8

// next takes the one whose turn it is.
func (m *members) next(f *field, random Rand) *Endpoint {
	for try := 0; ; try++ {
		e := f.at(int(m.circuit.turn.Add(1) % uint32(f.fit)))
		if try == patience || m.grown(e, f, random) {
			return e
		}
	}
}

// draw draws one at random, other than except (-1: any).
func (m *members) draw(f *field, random Rand, except int) int {
	for try := 0; ; try++ {
		var i int
		if except < 0 {
			i = int(random(uint32(f.fit)))
		} else if i = int(random(uint32(f.fit - 1))); i >= except {
			i++
		}
		if f.slow == 0 || try == patience || m.grown(f.at(i), f, random) {
			return i
		}
	}
}

// grown decides by chance whether an endpoint is taken: always when it is not young, else with a chance that
// grows from a tenth.
func (m *members) grown(e *Endpoint, f *field, random Rand) bool {
	age := f.slow - e.since
	if f.slow == 0 || e.since == 0 || age >= int64(m.balance.SlowStart) {
		return true
	}
	const whole = 1 << 20
	share := .1 + .9*float64(max(age, 0))/float64(m.balance.SlowStart)
	return random(whole) < uint32(share*whole)
}
