package controllers

import (
	"strconv"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/sluice-mesh/sluice/api/v1alpha1"
)

// written remembers the resourceVersion of each Rollout that this process wrote last, so that it waits
// for its own cache instead of deciding from what it knows to be old. It saves refused writes; what makes
// them safe is the API server's refusal. The zero value is ready to use.
type written struct {
	mu       sync.Mutex
	versions map[types.UID]version
}

// version is what was written, and when.
type version struct {
	number uint64
	at     time.Time
}

// cachePatience is how long the cache may be behind before it is believed all the same: a restored etcd counts
// anew.
const cachePatience = 5 * time.Second

// note remembers what was just written.
func (w *written) note(rollout *v1alpha1.Rollout, now time.Time) {
	number, err := strconv.ParseUint(rollout.ResourceVersion, 10, 64)
	if err != nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.versions == nil {
		w.versions = map[types.UID]version{}
	}
	w.versions[rollout.UID] = version{number, now}
}

// behind tells whether a Rollout from the cache is older than what was written.
func (w *written) behind(rollout *v1alpha1.Rollout, now time.Time) bool {
	number, err := strconv.ParseUint(rollout.ResourceVersion, 10, 64)
	if err != nil {
		return false
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	last, known := w.versions[rollout.UID]
	if !known {
		return false
	}
	if number >= last.number || now.Sub(last.at) > cachePatience {
		delete(w.versions, rollout.UID)
		return false
	}
	return true
}
