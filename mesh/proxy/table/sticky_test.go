package table

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/sluice-mesh/sluice/mesh/ir"
)

func stickyShop(weight, baseline uint32) ir.Service {
	s := shop(ir.Split{}, pods("v1", web, 1), pods("v2", web, 2), pods("v1-base", web, 3))
	s.Split = release(1, weight)
	if baseline > 0 {
		s.Split.Baseline, s.Split.BaselineWeight = "v1-base", baseline
	}
	s.Split = s.Split.WithShares(s.Subsets)
	s.Policy.Sticky = &ir.Sticky{Cookie: "side", TTL: 90 * time.Minute}
	return s
}

// cookieOf reads what a client would send back.
func cookieOf(t *testing.T, setCookie string) string {
	t.Helper()
	c, err := http.ParseSetCookie(setCookie)
	if err != nil {
		t.Fatal(err)
	}
	if c.Path != "/" || !c.HttpOnly || c.SameSite != http.SameSiteLaxMode {
		t.Errorf("cookie %q", setCookie)
	}
	return c.Name + "=" + c.Value
}

// Of the ten thousand buckets exactly as many lead to the canary as its weight says; a client's first request
// is judged, the others are not.
func TestStickySharesAreExact(t *testing.T) {
	for _, c := range []struct{ weight, baseline uint32 }{{1, 0}, {33, 0}, {100, 0}, {20, 20}, {60, 60}} {
		port := door(t, stickyShop(c.weight, c.baseline))
		drawn := map[string]uint32{}
		for bucket := range uint32(buckets) {
			var first, second Plan
			port.Plan(&first, get("/"), always(bucket), start)
			drawn[first.Revision]++
			if bucket%97 != 0 {
				continue
			}
			if want := fmt.Sprint(c.weight); c.baseline != 60 && keyOf(&first).Weight != want {
				t.Errorf("first request counted at %q, want %q", keyOf(&first).Weight, want)
			}
			cookie := cookieOf(t, first.SetCookie)
			port.Plan(&second, get("/", "cookie", "a=b; "+cookie), always(0), start)
			if second.Revision != first.Revision || second.SetCookie != "" || keyOf(&second).Weight != "" {
				t.Errorf("%s: %s, then %s counted at %q with cookie %q", cookie, first.Revision, second.Revision, keyOf(&second).Weight, second.SetCookie)
			}
		}
		baseline := min(c.baseline, 100-c.weight)
		if drawn["v2"] != c.weight*100 || drawn["v1-base"] != baseline*100 {
			t.Errorf("weight %d, baseline %d: drawn %v", c.weight, baseline, drawn)
		}
	}
}

// Whoever has seen the canary stays on it while its weight rises, and only then does anybody leave stable
// for it.
func TestStickyIsMonotone(t *testing.T) {
	random := rand.New(rand.NewPCG(5, 6))
	for range 20 {
		bucket := random.Uint32N(buckets)
		var cookie string
		onCanary := false
		for weight := uint32(1); weight <= 100; weight += 1 + random.Uint32N(20) {
			var plan Plan
			port := door(t, stickyShop(weight, min(weight, 50)))
			port.Plan(&plan, get("/", "cookie", cookie), always(bucket), start)
			if cookie == "" {
				cookie = cookieOf(t, plan.SetCookie)
			}
			if now := plan.Revision == "v2"; onCanary && !now {
				t.Fatalf("bucket %d leaves the canary at weight %d", bucket, weight)
			} else if onCanary = now; now != (bucket < weight*100) {
				t.Fatalf("bucket %d at weight %d is on %s", bucket, weight, plan.Revision)
			}
		}
	}
}

func TestStickyCookies(t *testing.T) {
	port := door(t, stickyShop(50, 0))
	for cookie, known := range map[string]bool{
		"side=0000.v2": true, "side=9999.v2": true, `side="4999.v2"`: true,
		"side=0000.v1": false, "side=0000": false, "side=.v2": false, "side=-001.v2": false, "side=00001.v2": false,
		"side=00x0.v2": false, "side=": false, "side": false, "": false, "Side=0000.v2": false,
	} {
		var plan Plan
		port.Plan(&plan, get("/", "cookie", cookie), always(7000), start)
		if got := plan.SetCookie == ""; got != known {
			t.Errorf("%q: known %v, want %v", cookie, got, known)
		}
		if !known && (plan.Revision != "v1" || !strings.HasPrefix(plan.SetCookie, "side=7000.v2; ") || !strings.HasSuffix(plan.SetCookie, "; Max-Age=5400")) {
			t.Errorf("%q: %s, cookie %q", cookie, plan.Revision, plan.SetCookie)
		}
	}
	// Nobody is bound while the canary gets nothing, or no release is on.
	none := stickyShop(0, 0)
	over := stickyShop(0, 0)
	over.Split = ir.Split{Owner: "rollout", Epoch: 2}
	for _, s := range []ir.Service{none, over} {
		var plan Plan
		door(t, s).Plan(&plan, get("/", "cookie", "side=0000.v2"), always(0), start)
		if plan.SetCookie != "" || s.Split.Canary != "" && (plan.Revision != "v1" || keyOf(&plan).Weight != "0") {
			t.Errorf("%s with cookie %q at %q", plan.Revision, plan.SetCookie, keyOf(&plan).Weight)
		}
	}
}

func TestHash(t *testing.T) {
	ring := func(on ir.HashOn) *Port {
		s := shop(ir.Split{}, pods("v1", web, 1, 2, 3, 4, 5, 6, 7, 8))
		s.Policy.Balance = ir.Balance{Balancer: ir.RingHash, HashOn: on}
		return door(t, s)
	}
	random := seeded(1)
	same := func(p *Port, r func() Request) int {
		seen := map[netip.AddrPort]bool{}
		for range 50 {
			plan, e := carried(t, p, r(), random, start)
			plan.Done(e, Succeeded, start)
			seen[e.Address] = true
		}
		return len(seen)
	}
	header := ring(ir.HashOn{Header: "x-user"})
	if n := same(header, func() Request { return get("/", "x-user", "ann") }); n != 1 {
		t.Errorf("one value leads to %d endpoints", n)
	}
	if n := same(header, func() Request { return get("/") }); n != 8 {
		t.Errorf("without a value %d endpoints are used", n)
	}
	if n := same(ring(ir.HashOn{Source: true}), func() Request { return get("/") }); n != 1 {
		t.Errorf("one source leads to %d endpoints", n)
	}
	cookies := ring(ir.HashOn{Cookie: "id", CookieTTL: time.Hour})
	cookie := ""
	if n := same(cookies, func() Request {
		var plan Plan
		cookies.Plan(&plan, get("/", "cookie", cookie), random, start)
		if cookie == "" {
			cookie = cookieOf(t, plan.SetCookie)
		} else if plan.SetCookie != "" {
			t.Errorf("cookie %q is made again", plan.SetCookie)
		}
		return get("/", "cookie", cookie)
	}); n != 1 {
		t.Errorf("one cookie leads to %d endpoints", n)
	}
	var plan Plan
	ring(ir.HashOn{Cookie: "id"}).Plan(&plan, get("/"), random, start)
	if plan.SetCookie != "" || plan.hashed {
		t.Errorf("cookie %q though none is to be made", plan.SetCookie)
	}
}
