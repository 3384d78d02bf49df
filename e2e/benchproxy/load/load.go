// Package load puts load on an address and says what came back: wrk and h2load for as many requests as go
// through, and generators of its own for paced requests, for connections that stay open and for bulk. No
// generator repeats a request that failed.
package load

import (
	"fmt"
	"time"
)

// Outcome is what a generator saw.
type Outcome struct {
	// Done are exchanges that were completed, whatever their status.
	Done int64
	// Failed are those that were not, and those with another status than 2xx.
	Failed int64
	// Bytes that came back.
	Bytes int64
	// Took is how long the load was on.
	Took time.Duration
	// P50 and P99 of the latency; 0 where the generator does not tell.
	P50, P99 time.Duration
	// Failures in words; empty without any.
	Failures string
}

// Check is an error when something failed, nothing was done, or too little came back for what was done.
func (o Outcome) Check(bodyBytes int64) error {
	switch {
	case o.Failed > 0:
		return fmt.Errorf("%d of %d requests failed: %s", o.Failed, o.Done, o.Failures)
	case o.Done == 0:
		return fmt.Errorf("no request was done")
	case o.Bytes < o.Done*bodyBytes:
		return fmt.Errorf("%d bytes came back for %d requests of %d bytes each", o.Bytes, o.Done, bodyBytes)
	}
	return nil
}
