package relay

import (
	"sync"
	"time"
)

// Idlers are the pairs that end when nothing has come from either side for a time. The zero value has none.
type Idlers struct {
	mu    sync.Mutex
	pairs map[*Pair]*idler
}

type idler struct {
	limit time.Duration
	look  time.Time // when it can be due at the earliest
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

// Cut closes those that have been quiet for too long; to be called every now and then.
func (i *Idlers) Cut(now time.Time) {
	i.mu.Lock()
	defer i.mu.Unlock()
	for pair, idler := range i.pairs {
		if now.Before(idler.look) {
			continue
		}
		if left := idler.limit - pair.Quiet(); left > 0 {
			idler.look = now.Add(left)
		} else {
			_ = pair.Close()
		}
	}
}
