package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"github.com/sluice-mesh/sluice/e2e/hop"
)

// behaviour is what a service is and how it answers.
type behaviour struct {
	name, version   string
	upstreams       []upstream
	upstreamTimeout time.Duration
	errorRate       float64
	latency, jitter time.Duration
	startDelay      time.Duration
}

// upstream is a service behind this one.
type upstream struct{ name, url string }

func (b behaviour) validate() error {
	for _, word := range []string{b.name, b.version} {
		if word == "" || strings.ContainsAny(word, "/=;,\r\n") {
			return fmt.Errorf("check name and version: %q must be a word without / = ; ,", word)
		}
	}
	if b.errorRate < 0 || b.errorRate > 1 {
		return fmt.Errorf("check error rate: %v is not between 0 and 1", b.errorRate)
	}
	if b.latency < 0 || b.jitter < 0 || b.startDelay < 0 {
		return fmt.Errorf("check durations: none may be negative")
	}
	return nil
}

// service answers requests. It is safe for concurrent use.
type service struct {
	behaviour
	pod     string
	started time.Time
	now     func() time.Time
	random  func() float64
	client  *http.Client
	asked   atomic.Uint64
	traces  *traces // nil: it collects none
}

// newService takes the clock and a source of random numbers in [0, 1).
func newService(b behaviour, now func() time.Time, random func() float64) *service {
	pod, _ := os.Hostname()
	return &service{
		behaviour: b, pod: pod, started: now(), now: now, random: random,
		client: &http.Client{
			Timeout:   b.upstreamTimeout,
			Transport: &http.Transport{MaxIdleConnsPerHost: 64, IdleConnTimeout: 30 * time.Second},
		},
	}
}

func (s *service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch r.URL.Path {
	case "/healthz":
		s.health(w)
	case "/ws":
		s.chat(w, r)
	case "/asked":
		_, _ = fmt.Fprintln(w, s.asked.Load())
	case "/v1/traces", "/spans":
		if s.traces == nil {
			s.answer(w, r)
			return
		}
		s.traces.ServeHTTP(w, r)
	default:
		s.answer(w, r)
	}
}

func (s *service) health(w http.ResponseWriter) {
	if s.now().Sub(s.started) < s.startDelay {
		http.Error(w, "starting", http.StatusServiceUnavailable)
		return
	}
	_, _ = io.WriteString(w, "ok\n")
}

// reply is the body of an answer.
type reply struct {
	Service string         `json:"service"`
	Version string         `json:"version"`
	Pod     string         `json:"pod"`
	Status  int            `json:"status"`
	Path    string         `json:"path"`
	Hops    []hop.Hop      `json:"-"`
	Calls   map[string]int `json:"calls,omitempty"`
}

func (s *service) answer(w http.ResponseWriter, r *http.Request) {
	s.asked.Add(1)
	if s.wait(r.Context()) != nil {
		return // the client went away: nobody to answer
	}
	out := reply{Service: s.name, Version: s.version, Pod: s.pod, Status: http.StatusOK, Path: r.URL.RequestURI()}
	behind := s.ask(r.Context())
	for _, h := range behind {
		if out.Calls == nil {
			out.Calls = map[string]int{}
		}
		out.Calls[h.Service] = h.Status
		if h.Lost() || h.Status >= 500 {
			out.Status = http.StatusBadGateway
		}
	}
	if s.random() < s.errorRate {
		out.Status = http.StatusInternalServerError
	}
	hops := append([]hop.Hop{{Service: s.name, Version: s.version, Status: out.Status}}, behind...)
	body, err := json.Marshal(out)
	if err != nil { // strings and integers only: cannot fail
		http.Error(w, "marshal reply", http.StatusInternalServerError)
		return
	}
	w.Header().Set(hop.HeaderVersion, s.version)
	w.Header().Set(hop.HeaderTrace, hop.Format(hops))
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(out.Status)
	_, _ = w.Write(append(body, '\n'))
}

// wait takes as long as an answer is to take.
func (s *service) wait(ctx context.Context) error {
	wait := s.latency + time.Duration(s.random()*float64(s.jitter))
	if wait <= 0 {
		return nil
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// ask calls the services behind this one, one after the other, and returns all hops behind it.
func (s *service) ask(ctx context.Context) []hop.Hop {
	var hops []hop.Hop
	for _, up := range s.upstreams {
		hops = append(hops, s.call(ctx, up)...)
	}
	return hops
}

// onceBody is an empty body that the transport cannot rewind: without it the transport would
// silently send a GET again whose connection broke, and hide what the mesh did.
type onceBody struct{}

func (onceBody) Read([]byte) (int, error) { return 0, io.EOF }
func (onceBody) Close() error             { return nil }

func (s *service) call(ctx context.Context, up upstream) []hop.Hop {
	lost := []hop.Hop{{Service: up.name}}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, up.url, onceBody{})
	if err != nil {
		return lost
	}
	resp, err := s.client.Do(req)
	if err != nil {
		return lost
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, io.LimitReader(resp.Body, 1<<20)); err != nil {
		return lost
	}
	if resp.Header.Get(hop.HeaderVersion) == "" {
		lost[0].Status = resp.StatusCode
		return lost
	}
	hops, err := hop.Parse(resp.Header.Get(hop.HeaderTrace))
	if err != nil || len(hops) == 0 {
		return []hop.Hop{{Service: up.name, Version: resp.Header.Get(hop.HeaderVersion), Status: resp.StatusCode}}
	}
	return hops
}
