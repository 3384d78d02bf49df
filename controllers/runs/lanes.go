package runs

import (
	"context"
	"net/url"
	"sync"

	"github.com/sluice-mesh/sluice/api/v1alpha1"
)

// width is how many measurements are at one server at once.
const width = 16

// lanes lead measurements to servers, so that no server gets too many at once, and a slow one fills its own
// lane only. The zero value is ready to use.
type lanes struct {
	mu    sync.Mutex
	byKey map[string]*laneState
}

// laneState is a lane and how many are in it or wait for it.
type laneState struct {
	places chan struct{}
	users  int
}

// enter waits for a place in a lane; leave gives it back.
func (l *lanes) enter(ctx context.Context, key string) (leave func(), err error) {
	l.mu.Lock()
	if l.byKey == nil {
		l.byKey = map[string]*laneState{}
	}
	lane := l.byKey[key]
	if lane == nil {
		lane = &laneState{places: make(chan struct{}, width)}
		l.byKey[key] = lane
	}
	lane.users++
	l.mu.Unlock()
	gone := func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		if lane.users--; lane.users == 0 {
			delete(l.byKey, key)
		}
	}
	select {
	case lane.places <- struct{}{}:
		return func() { <-lane.places; gone() }, nil
	case <-ctx.Done():
		gone()
		return nil, ctx.Err() //nolint:wrapcheck // the caller says what was waited for
	}
}

// lane is the server that a metric is measured at; empty: the installation's Prometheus.
func lane(metric v1alpha1.Metric, args arguments) string {
	address := ""
	switch p := metric.Provider; {
	case p.Prometheus != nil:
		address = p.Prometheus.Address
	case p.Web != nil:
		address = p.Web.URL
	}
	address, _ = args.expand(address)
	if parsed, err := url.Parse(address); err == nil {
		return parsed.Host
	}
	return ""
}
