package table

import (
	"cmp"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/sluice-mesh/sluice/mesh/ir"
)

// buckets is how many there are: each is a hundredth of a percent of the clients.
const buckets = 10_000

// stickiness keeps clients on one side of a release. The cookie's value is "<bucket>.<canary>", the bucket
// in four digits: it is good for this release only, so that with the next one every client is drawn, and
// judged, anew. The canary has the buckets from 0 up to its share, the baseline those at the other end,
// stable what is between; so a client that has come to the canary stays there while its share grows. While
// the canary has no share there is no stickiness: nobody is bound to a release that shows nobody anything.
type stickiness struct {
	cookie     string
	suffix     string // of the cookie's value
	attributes string

	canary, baseline uint32 // shares, in buckets
	// toCanary and so on are who gets them.
	toCanary, toBaseline, toStable *group
}

func newStickiness(sticky *ir.Sticky, split ir.Split, shares lot) *stickiness {
	s := &stickiness{cookie: sticky.Cookie, suffix: "." + split.Canary, attributes: attributes(sticky.TTL)}
	before := uint32(0)
	for _, c := range shares.choices {
		share := (c.below - before) * buckets / shares.total
		before = c.below
		switch revision := c.group.revision; {
		case revision == split.Canary:
			s.canary, s.toCanary = share, c.group
		case revision == split.Baseline && split.Baseline != "":
			s.baseline, s.toBaseline = share, c.group
		default:
			s.toStable = c.group
		}
	}
	s.toStable = cmp.Or(s.toStable, s.toBaseline, s.toCanary) // gets what rounding leaves
	return s
}

// draw returns the group for a request, and whether it is the client's first of this release, with a cookie
// that is to be set.
func (s *stickiness) draw(r Request, random Rand) (g *group, setCookie string) {
	value, _ := cookie(r, s.cookie)
	bucket, known := s.bucket(value)
	if !known {
		bucket = random(buckets)
		digits := strconv.FormatUint(uint64(buckets+bucket), 10)[1:]
		setCookie = s.cookie + "=" + digits + s.suffix + s.attributes
	}
	switch {
	case bucket < s.canary:
		return s.toCanary, setCookie
	case bucket >= buckets-s.baseline:
		return s.toBaseline, setCookie
	default:
		return s.toStable, setCookie
	}
}

// bucket reads a cookie's value; not known: it is none of this release.
func (s *stickiness) bucket(value string) (bucket uint32, known bool) {
	digits, found := strings.CutSuffix(value, s.suffix)
	if !found || len(digits) != 4 {
		return 0, false
	}
	for i := range len(digits) {
		if digits[i] < '0' || digits[i] > '9' {
			return 0, false
		}
		bucket = bucket*10 + uint32(digits[i]-'0')
	}
	return bucket, true
}

// attributes of a cookie that lives so long; 0: until the browser ends.
func attributes(ttl time.Duration) string {
	text := "; Path=/; HttpOnly; SameSite=Lax"
	if ttl > 0 {
		text += "; Max-Age=" + strconv.FormatInt(int64(math.Ceil(ttl.Seconds())), 10)
	}
	return text
}

// hash returns what a request is balanced by, and a cookie to be set where that is made here.
func (p *Port) hash(r Request, random Rand) (hash uint64, hashed bool, setCookie string) {
	on := &p.policy.Balance.HashOn
	var value string
	switch {
	case on.Header != "":
		value, hashed = r.Header(on.Header)
	case on.Cookie != "":
		if value, hashed = cookie(r, on.Cookie); !hashed && on.CookieTTL > 0 {
			value = strconv.FormatUint(uint64(random(math.MaxUint32))<<32|uint64(random(math.MaxUint32)), 16)
			hashed, setCookie = true, on.Cookie+"="+value+attributes(on.CookieTTL)
		}
	case on.Source:
		return hashAddress(r.Peer().Unmap()), true, ""
	}
	return hashText(value), hashed, setCookie
}
