// Package recent remembers the last few keys that it was shown, so that a repeat is noticed. It does
// not know what the keys mean.
package recent

// Set holds the last keys added to it, at most as many as it was made for; older ones are forgotten.
// It is not safe for concurrent use.
type Set struct {
	keys map[string]struct{}
	ring []string
	next int
}

// New returns an empty set of at most size keys; size must be positive.
func New(size int) *Set {
	return &Set{keys: make(map[string]struct{}), ring: make([]string, size)}
}

// Add remembers key and reports whether it is new.
func (s *Set) Add(key string) bool {
	if _, ok := s.keys[key]; ok {
		return false
	}
	if len(s.keys) == len(s.ring) {
		delete(s.keys, s.ring[s.next])
	}
	s.keys[key] = struct{}{}
	s.ring[s.next] = key
	s.next = (s.next + 1) % len(s.ring)
	return true
}
