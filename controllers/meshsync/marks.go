package meshsync

import (
	"sync"

	"k8s.io/apimachinery/pkg/types"
)

// marks are the services that must be looked at again.
type marks struct {
	// wake has a token while something is marked.
	wake chan struct{}

	mu    sync.Mutex
	dirty map[types.NamespacedName]struct{}
	every bool
}

func newMarks() marks {
	return marks{wake: make(chan struct{}, 1), dirty: map[types.NamespacedName]struct{}{}}
}

// add marks services.
func (m *marks) add(keys []types.NamespacedName) {
	if len(keys) == 0 {
		return
	}
	m.mu.Lock()
	for _, key := range keys {
		m.dirty[key] = struct{}{}
	}
	m.mu.Unlock()
	m.signal()
}

// all marks every service.
func (m *marks) all() {
	m.mu.Lock()
	m.every = true
	m.mu.Unlock()
	m.signal()
}

func (m *marks) signal() {
	select {
	case m.wake <- struct{}{}:
	default:
	}
}

// take empties the marks and says what was marked.
func (m *marks) take() (dirty []types.NamespacedName, every bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for key := range m.dirty {
		dirty = append(dirty, key)
	}
	every = m.every
	m.every, m.dirty = false, map[types.NamespacedName]struct{}{}
	return dirty, every
}
