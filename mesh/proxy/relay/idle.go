package relay

import (
	"sync"
	"time"
)

// Idlers are the pairs that end when nothing has moved on them for a time. The zero value has none.
type Idlers struct {
	mu    sync.Mutex
	pairs map[*Pair]*idler
}

type idler struct {
	limit time.Duration
	moved uint64    // when it was last looked at
	since time.Time // it has been seen not to change
	look  time.Time // again
}

// Add enters a pair that ends after the limit; leave must follow.
func (i *Idlers) Add(pair *Pair, limit time.Duration) (leave func()) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.pairs == nil {
		i.pairs = map[*Pair]*idler{}
	}
	i.pairs[pair] = &idler{limit: limit}
	return func() {
		i.mu.Lock()
		defer i.mu.Unlock()
		delete(i.pairs, pair)
	}
}

// Cut closes the pairs on which nothing has moved for their limit, or up to a quarter longer; to be called every
// now and then.
func (i *Idlers) Cut(now time.Time) {
	i.mu.Lock()
	defer i.mu.Unlock()
	for pair, idler := range i.pairs {
		if now.Before(idler.look) {
			continue
		}
		idler.look = now.Add(idler.limit / 4)
		switch moved := pair.moved(); {
		case moved != idler.moved || idler.since.IsZero():
			idler.moved, idler.since = moved, now
		case now.Sub(idler.since) >= idler.limit:
			_ = pair.Close()
		}
	}
}
