package meshsync

import (
	"reflect"
	"sync"

	"k8s.io/apimachinery/pkg/types"
)

// verdicts are what became of all objects, by the service at which they were looked at.
type verdicts struct {
	mu        sync.Mutex
	at        map[types.NamespacedName]map[Subject][]Verdict
	of        map[Subject]map[types.NamespacedName]struct{}
	followers []func(Subject)
}

// set replaces the verdicts of one service, and tells of the subjects for which that made a difference.
func (v *verdicts) set(service types.NamespacedName, list []Verdict) {
	now := map[Subject][]Verdict{}
	for _, verdict := range list {
		now[verdict.Subject] = append(now[verdict.Subject], verdict)
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.at == nil {
		v.at, v.of = map[types.NamespacedName]map[Subject][]Verdict{}, map[Subject]map[types.NamespacedName]struct{}{}
	}
	was := v.at[service]
	for subject := range was {
		if now[subject] == nil {
			delete(v.of[subject], service)
			if len(v.of[subject]) == 0 {
				delete(v.of, subject)
			}
			v.tell(subject)
		}
	}
	for subject, verdicts := range now {
		if reflect.DeepEqual(was[subject], verdicts) {
			continue
		}
		if v.of[subject] == nil {
			v.of[subject] = map[types.NamespacedName]struct{}{}
		}
		v.of[subject][service] = struct{}{}
		v.tell(subject)
	}
	if len(now) == 0 {
		delete(v.at, service)
	} else {
		v.at[service] = now
	}
}

func (v *verdicts) tell(subject Subject) {
	for _, follower := range v.followers {
		follower(subject)
	}
}

// Follow calls back with every subject that there is a verdict on, now and whenever its verdicts change. The
// callback must not block, nor call the Syncer.
func (s *Syncer) Follow(follower func(Subject)) {
	s.verdicts.mu.Lock()
	defer s.verdicts.mu.Unlock()
	for subject := range s.verdicts.of {
		follower(subject)
	}
	s.verdicts.followers = append(s.verdicts.followers, follower)
}

// Verdicts returns what became of an object at each service that it names.
func (s *Syncer) Verdicts(subject Subject) []Verdict {
	s.verdicts.mu.Lock()
	defer s.verdicts.mu.Unlock()
	var list []Verdict
	for service := range s.verdicts.of[subject] {
		list = append(list, s.verdicts.at[service][subject]...)
	}
	return list
}
