package server

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/cenkalti/backoff/v5"
)

// Replicas tell each other what their clients have in force as JSON, one line each: first all there is,
// then "alive", then what changes, and "alive" again at every heartbeat.
const (
	kindDecision = "decision"
	kindClient   = "client"
	kindAlive    = "alive"
)

// line of the stream between replicas. A decision or client line without its value says that it is gone.
type line struct {
	Kind     string    `json:"kind"`
	Serving  bool      `json:"serving,omitempty"`
	Service  string    `json:"service,omitempty"`
	Stream   int64     `json:"stream,omitempty"`
	Decision *decision `json:"decision,omitempty"`
	Client   *row      `json:"client,omitempty"`
}

const (
	// maxLine bounds what is read: a client's reason for a rejection is the longest part of a line.
	maxLine = 1 << 20
	// missedHeartbeats make a replica a lost one.
	missedHeartbeats = 3
)

// entry names what changed: a decision (stream 0) or a row.
type entry struct {
	service string
	stream  int64
}

// feed collects changes for one follower. It holds each changed entry once, so that a slow follower
// costs no more than the table. Guarded by convergence.mu, but for wake.
type feed struct {
	changed map[entry]bool
	wake    chan struct{}
}

func (f *feed) add(changed entry) {
	f.changed[changed] = true
	f.poke()
}

func (f *feed) poke() {
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

// subscribe opens a feed whose first content is all there is.
func (c *convergence) subscribe() *feed {
	c.mu.Lock()
	defer c.mu.Unlock()
	opened := &feed{changed: map[entry]bool{}, wake: make(chan struct{}, 1)}
	for service := range c.local.decisions {
		opened.changed[entry{service: service}] = true
	}
	for service, rows := range c.local.rows {
		for stream := range rows {
			opened.changed[entry{service, stream}] = true
		}
	}
	c.feeds[opened] = true
	return opened
}

func (c *convergence) unsubscribe(closed *feed) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.feeds, closed)
}

// take empties the feed into lines that say how the changed entries are now, and ends them with "alive".
func (c *convergence) take(from *feed) []line {
	c.mu.Lock()
	defer c.mu.Unlock()
	lines := make([]line, 0, len(from.changed)+1)
	for changed := range from.changed {
		if changed.stream == 0 {
			l := line{Kind: kindDecision, Service: changed.service}
			if d, found := c.local.decisions[changed.service]; found {
				l.Decision = &d
			}
			lines = append(lines, l)
			continue
		}
		l := line{Kind: kindClient, Service: changed.service, Stream: changed.stream}
		if r, found := c.local.rows[changed.service][changed.stream]; found {
			l.Client = &r
		}
		lines = append(lines, l)
	}
	clear(from.changed)
	return append(lines, line{Kind: kindAlive, Serving: c.local.serving})
}

// Handler streams this replica's acknowledgements as JSON lines, for Follow of other replicas: all
// there is first, then what changes, with heartbeats. An answer ends only with its request's context: an
// http.Server that has it is stopped by Close, or by a BaseContext that ends; Shutdown alone would wait.
func (s *Server) Handler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		feed := s.convergence.subscribe()
		defer s.convergence.unsubscribe(feed)
		heartbeat := time.NewTicker(s.options.Heartbeat)
		defer heartbeat.Stop()
		control := http.NewResponseController(w)
		w.Header().Set("Content-Type", "application/jsonl")
		out := bufio.NewWriter(w)
		encoder := json.NewEncoder(out)
		for {
			// A follower that does not read must not hold us.
			_ = control.SetWriteDeadline(time.Now().Add(missedHeartbeats * s.options.Heartbeat))
			for _, line := range s.convergence.take(feed) {
				if encoder.Encode(line) != nil {
					return
				}
			}
			if out.Flush() != nil || control.Flush() != nil {
				return
			}
			select {
			case <-r.Context().Done():
				return
			case <-feed.wake:
			case <-heartbeat.C:
			}
		}
	})
}

// Follow merges another replica's acknowledgements (its Handler at url) into the answers of
// Convergence, connecting again with back-off, until the context ends; then the replica is forgotten.
// From the call on, until it has been heard and whenever it is lost, the replica counts as lagging. One
// that says it serves nobody yet does not count. It blocks; its error is only ever the context's.
func (s *Server) Follow(ctx context.Context, replica, url string) error {
	followed := &peer{}
	s.convergence.setPeer(replica, followed, nil)
	defer s.convergence.dropPeer(replica, followed)
	pause := backoff.NewExponentialBackOff()
	pause.InitialInterval, pause.MaxInterval = 50*time.Millisecond, 2*time.Second
	for ctx.Err() == nil {
		err := s.follow(ctx, url, func(heard *table) {
			pause.Reset()
			s.convergence.setPeer(replica, followed, heard)
		}, s.convergence.update)
		s.convergence.setPeer(replica, followed, nil)
		if ctx.Err() != nil {
			break
		}
		s.log.Warn("lost a replica", "replica", replica, "error", err)
		select {
		case <-ctx.Done():
		case <-time.After(pause.NextBackOff()):
		}
	}
	return ctx.Err()
}

// follow reads one connection to its end. It fills a table of its own until the first "alive", hands it
// to heard, and from then on makes its changes within update.
func (s *Server) follow(ctx context.Context, url string, heard func(*table), update func(func() bool)) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	silence := time.AfterFunc(missedHeartbeats*s.options.Heartbeat, cancel)
	defer silence.Stop()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return fmt.Errorf("follow replica: %w", err)
	}
	transport := &http.Transport{DisableKeepAlives: true}
	response, err := (&http.Client{Transport: transport}).Do(request)
	if err != nil {
		return fmt.Errorf("follow replica: %w", err)
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("follow replica: status %d", response.StatusCode)
	}
	lines := bufio.NewScanner(response.Body)
	lines.Buffer(nil, maxLine)
	heardOf, complete := newTable(), false
	for lines.Scan() {
		silence.Reset(missedHeartbeats * s.options.Heartbeat)
		var l line
		if err := json.Unmarshal(lines.Bytes(), &l); err != nil {
			return fmt.Errorf("read replica: %w", err)
		}
		if complete {
			update(func() bool { return heardOf.take(l) })
			continue
		}
		heardOf.take(l)
		if complete = l.Kind == kindAlive; complete {
			heard(heardOf)
		}
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("read replica: %w", err)
	}
	return errors.New("read replica: it ended the stream")
}

// take applies a line and reports whether it changed anything. Kinds of a newer replica are passed over.
func (t *table) take(l line) bool {
	switch l.Kind {
	case kindDecision:
		return t.decide(l.Service, l.Decision)
	case kindClient:
		return t.put(l.Service, l.Stream, l.Client)
	case kindAlive:
		changed := t.serving != l.Serving
		t.serving = l.Serving
		return changed
	default:
		return false
	}
}

// setPeer makes a table that of a replica; nil while it cannot be heard.
func (c *convergence) setPeer(replica string, followed *peer, heard *table) {
	c.mu.Lock()
	defer c.mu.Unlock()
	followed.table = heard
	c.peers[replica] = followed
	c.wake()
}

// update runs a change of a peer's table under the lock.
func (c *convergence) update(change func() bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if change() {
		c.wake()
	}
}

func (c *convergence) dropPeer(replica string, followed *peer) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.peers[replica] == followed {
		delete(c.peers, replica)
	}
	c.wake()
}
