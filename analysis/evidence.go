package analysis

import (
	"context"
	"time"
)

// Release is what is judged: one canary, from the first weight that it got on.
type Release struct {
	Namespace, Service string
	// Stable and Canary are the revisions (pod-template-hash).
	Stable, Canary string
	// Control is the revision that the canary is compared with: a baseline, which has BaselineShare of the
	// draws. Empty: Stable.
	Control string
	// Since is when the first weight was decided; nothing before it counts.
	Since time.Time
	// Weight is the canary's present share in percent, decided at WeightSince.
	Weight      uint32
	WeightSince time.Time
	// Planned are all weights of the release, rising, those to come included.
	Planned []uint32
	// WarmUps are when pods of the canary were too young to be compared.
	WarmUps []Window
	// Boundaries are durations above which a request is slow, rising. Empty: chosen from stable's
	// latencies before the release.
	Boundaries []time.Duration
	// Threshold, when above zero, is a duration that is judged by itself (Settings.LatencyP99): the bucket
	// bound at or just above it is among Evidence.Boundaries, whatever else is asked for or chosen.
	Threshold time.Duration
}

// Window is a time from From on, up to and without Until.
type Window struct{ From, Until time.Time }

// Evidence is what the sources (the proxies that drew the revision) saw of a release. Both revisions are
// counted over the same scrapes of the same sources. The zero value is no evidence at all.
//
// The canary's share of the draws is exactly the weight at every source, and the tests are linear in the
// counts at one share, so the sums over all sources are sufficient: a stratum is one weight.
type Evidence struct {
	// Strata are the weights that were seen, rising.
	Strata []Stratum
	// Boundaries are the exact bucket bounds that Requests.Slow and Overdue refer to, rising.
	Boundaries []time.Duration
	// Patience is the age that Requests.Hanging refers to.
	Patience time.Duration

	// Newest is when the newest scrape was made; zero: there is none.
	Newest time.Time
	// Interval between two scrapes of one source; zero: not known yet.
	Interval time.Duration
	// Sources is how many proxies the evidence comes from.
	Sources int
	// Unscraped is how many of them exist but cannot be scraped now, so that what they see is missing.
	Unscraped int
	// Dropped is how many intervals were left out for both revisions because counters were reset.
	Dropped int
	// Doubt, when not empty, says why the numbers cannot be trusted, such as series that are there twice.
	Doubt string
}

// Patience is how long a request may be under way before it hangs.
const Patience = 10 * time.Second

// Stratum is what was seen at one weight.
type Stratum struct {
	// Weight is the canary's share in percent that was in force at the draw.
	Weight uint32
	// Share of the requests that went to the canary, inside (0, 1), where it is known by what was seen and
	// not by who drew: traffic that others split. Zero: as the weight says.
	Share float64
	// Seen is everything; Tested leaves out the intervals that touch a warm-up, for both revisions.
	Seen, Tested Pair
}

// Pair is the requests of the canary and of the revision that it is compared with.
type Pair struct{ Canary, Control Requests }

// Requests are one revision's.
type Requests struct {
	// Started is how many began.
	Started uint64
	// Answered is how many ended, without Cancelled.
	Answered uint64
	// Failed is how many of Answered the server is to blame for, or nobody answered.
	Failed uint64
	// Cancelled is how many the client gave up: neither good nor bad. Those that it gave up after the
	// lowest boundary count as answered and slow instead.
	Cancelled uint64
	// Unfinished is how many are under way.
	Unfinished uint64
	// Hanging is how many of Unfinished are known to be older than Evidence.Patience: a lower bound.
	Hanging uint64
	// Slow is, for each boundary, how many of Answered did not fail but took longer.
	Slow []uint64
	// Overdue is, for each boundary, how many of Unfinished are known to be older: a lower bound.
	Overdue []uint64
}

// EvidenceSource supplies the evidence about a release up to now. It must be safe for concurrent use. An
// error means that there is none; doubt about evidence that is there is in Evidence.Doubt.
type EvidenceSource interface {
	Evidence(ctx context.Context, release Release) (Evidence, error)
}
