package analysis

import "time"

// Counts are the requests of both revisions at one weight since it was live, as their sources (the
// proxies that drew the revision) tell it. Both tallies cover the same scrapes of the same sources.
// The zero value is no evidence at all.
type Counts struct {
	Canary, Stable Tally

	// Boundary is the exact bucket bound at or just above Subject.Slow that Tally.Slow refers to. Zero:
	// slow requests could not be counted, or were not asked for.
	Boundary time.Duration
	// Patience is the age that Tally.Overdue refers to.
	Patience time.Duration

	// Newest is when the newest scrape in the counts was made; zero: there is none.
	Newest time.Time
	// Interval between two scrapes of one source; zero: not known yet.
	Interval time.Duration
	// Sources is how many proxies the counts come from.
	Sources int
	// Unscraped is how many of them exist but cannot be scraped now, so that what they see is missing.
	Unscraped int
	// Dropped is how many intervals were left out of both tallies because a source's counters were reset.
	Dropped int
	// Doubt, when not empty, says why the numbers cannot be trusted, such as series that are there twice.
	Doubt string
}

// Tally is one revision's requests.
type Tally struct {
	// Started is how many began.
	Started uint64
	// Answered is how many ended, without Cancelled.
	Answered uint64
	// Failed is how many of Answered the server is to blame for, or nobody answered.
	Failed uint64
	// Slow is how many of Answered did not fail but took longer than the boundary, those that the client
	// gave up after it among them.
	Slow uint64
	// Cancelled is how many the client gave up before the boundary: neither good nor bad. Without a
	// boundary these are all that the client gave up.
	Cancelled uint64
	// Unfinished is how many are under way.
	Unfinished uint64
	// Overdue is how many of Unfinished are known to be older than Counts.Patience. It is a lower bound.
	Overdue uint64
}

// Patience is how long a request may be under way, where latency is not judged, before it counts as
// overdue.
const Patience = 10 * time.Second
