package h2

import "time"

// bucket is a token bucket.
type bucket struct {
	used float64
	at   time.Time
}

// take reports whether there was a token, of so many at once and so many a second. Time is read only when
// tokens run low.
func (k *bucket) take(clock func() time.Time, burst, rate float64) bool {
	k.used++
	if k.used < burst/2 {
		return true
	}
	now := clock()
	if !k.at.IsZero() {
		k.used = max(0, k.used-now.Sub(k.at).Seconds()*rate)
	}
	k.at = now
	return k.used <= burst
}
