package main

import (
	"context"
	"encoding/json"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sluice-mesh/sluice/e2e/hop"
	"github.com/sluice-mesh/sluice/e2e/load/ledger"
)

// app answers as an application does.
func app(version string, status int) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set(hop.HeaderVersion, version)
		w.Header().Set(hop.HeaderTrace, hop.Format([]hop.Hop{{Service: "shop", Version: version, Status: status}}))
		w.WriteHeader(status)
	}
}

func base(url string) plan {
	return plan{url: url, rate: 2000, timeout: 2 * time.Second, inFlight: 100}
}

// send runs the plan against the handler and returns what was seen.
func send(t *testing.T, p plan, handler http.Handler) ledger.Snapshot {
	t.Helper()
	server := httptest.NewServer(handler)
	defer server.Close()
	p.url = server.URL
	book := ledger.New(0, time.Now)
	g, err := newGenerator(p, book)
	if err != nil {
		t.Fatal(err)
	}
	g.run(context.Background())
	return book.Snapshot(time.Time{})
}

func TestTellsApplicationsFromTheMesh(t *testing.T) {
	hang := make(chan struct{})
	defer close(hang)
	hijack := func(reset bool) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			conn, _, err := w.(http.Hijacker).Hijack()
			if err != nil {
				return
			}
			if reset {
				_ = conn.(*net.TCPConn).SetLinger(0)
			}
			_ = conn.Close()
		}
	}
	tests := map[string]struct {
		handler http.Handler
		version string
		lost    string
	}{
		"good":       {app("v1", 200), "v1", ""},
		"error":      {app("v2", 500), "v2", ""},
		"by a proxy": {http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) }), "", "status 503"},
		"reset":      {hijack(true), "", "reset"},
		"closed":     {hijack(false), "", "closed"},
		"never ends": {http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			select {
			case <-r.Context().Done():
			case <-hang:
			}
		}), "", "timeout"},
		"cut in half": {http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", "9")
			app("v1", 200)(w, r)
		}), "", "closed"},
		"behind": {http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set(hop.HeaderVersion, "v1")
			w.Header().Set(hop.HeaderTrace, "frontend/v1=502;shop/=503")
			w.WriteHeader(http.StatusBadGateway)
		}), "", "status 503 to shop"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			p := base("")
			p.count, p.timeout = 5, 10*time.Second
			if test.lost == "timeout" {
				p.timeout = 200 * time.Millisecond
			}
			total := send(t, p, test.handler).Total
			if total.Done != 5 {
				t.Fatalf("%d requests ended, want 5", total.Done)
			}
			if test.lost != "" && total.Reasons[test.lost] != 5 || test.version != "" && total.Versions[test.version].Requests != 5 {
				t.Errorf("got %+v", total)
			}
		})
	}
}

func TestCountsTheServiceBehind(t *testing.T) {
	p := base("")
	p.count, p.service = 3, "catalog"
	total := send(t, p, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set(hop.HeaderVersion, "v1")
		w.Header().Set(hop.HeaderTrace, "frontend/v1=502;catalog/v3=500;checkout/v1=200")
		w.WriteHeader(http.StatusBadGateway)
	})).Total
	if got := total.Versions["v3"]; got.Errors != 3 || got.Statuses[500] != 3 {
		t.Errorf("got %+v", total)
	}
}

// A connection that breaks after it was used is one lost request, not one that is sent again.
func TestNeverSendsTwice(t *testing.T) {
	var arrived atomic.Int64
	p := base("")
	p.rate, p.count, p.inFlight = 50, 10, 1
	s := send(t, p, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if arrived.Add(1)%2 == 0 {
			conn, _, _ := w.(http.Hijacker).Hijack()
			_ = conn.Close()
			return
		}
		app("v1", 200)(w, r)
	}))
	if n := uint64(arrived.Load()); n != s.Sent || s.Total.Lost != n/2 {
		t.Errorf("%d arrived of %d sent, %d lost", n, s.Sent, s.Total.Lost)
	}
}

func TestKeepsItsRate(t *testing.T) {
	p := base("")
	p.rate, p.duration = 400, 2*time.Second
	s := send(t, p, app("v1", 200))
	if s.Sent+s.Skipped < 600 || s.Sent+s.Skipped > 800 { // what is due while the machine is busy at the end is not
		t.Errorf("%d sent and %d skipped in two seconds at 400 a second", s.Sent, s.Skipped)
	}
}

// Each visitor keeps its cookies, leaves after its visits, and notices when it is sent back.
func TestVisitors(t *testing.T) {
	p := base("")
	p.count, p.inFlight, p.cookies, p.visits = 300, 10, 10, 5
	var newcomers atomic.Int64
	kept := send(t, p, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		cookie, err := r.Cookie("version")
		if err != nil {
			cookie = &http.Cookie{Name: "version", Value: []string{"v1", "v2"}[newcomers.Add(1)%2]}
			http.SetCookie(w, cookie)
		}
		app(cookie.Value, 200)(w, r)
	}))
	n, least := uint64(newcomers.Load()), kept.Total.Done/5
	if kept.Total.Returned != 0 || n < least || n > least+20 {
		t.Errorf("%d newcomers in %d visits, %d sent back; want %d and some, and none", n, kept.Total.Done, kept.Total.Returned, least)
	}
	var visits atomic.Int64
	p.cookies, p.inFlight, p.visits, p.count = 1, 1, 0, 10
	p.rate = 100
	alternating := send(t, p, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		app([]string{"v1", "v2"}[visits.Add(1)%2], 200)(w, r)
	}))
	if done := alternating.Total.Done; alternating.Total.Returned != done-2 {
		t.Errorf("%d of %d visits went back, want all but two", alternating.Total.Returned, done)
	}
}

func TestSkipsBeyondItsLimit(t *testing.T) {
	p := base("")
	p.count, p.inFlight = 20, 2
	s := send(t, p, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		time.Sleep(50 * time.Millisecond) // a slow application, not a wait for something
		app("v1", 200)(w, r)
	}))
	if s.Skipped == 0 || s.Sent+s.Skipped != 20 {
		t.Errorf("%d sent, %d skipped; want 20 in all and some skipped", s.Sent, s.Skipped)
	}
}

func TestStatsServer(t *testing.T) {
	shop := httptest.NewServer(app("v1", 200))
	defer shop.Close()
	p := base(shop.URL)
	p.rate = 0
	book := ledger.New(0, time.Now)
	g, err := newGenerator(p, book)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); g.run(ctx) }()
	defer func() { stop(); <-done }()
	api := httptest.NewServer(statsHandler(book, g))
	defer api.Close()

	post := func(path string, want int) *http.Response {
		t.Helper()
		resp, err := http.Post(api.URL+path, "", nil)
		if err != nil {
			t.Fatal(err)
		}
		if resp.StatusCode != want {
			t.Fatalf("POST %s: %d, want %d", path, resp.StatusCode, want)
		}
		return resp
	}
	for _, bad := range []string{"", "-1", "NaN", "1e9", "fast"} {
		_ = post("/rate?rps="+bad, 400).Body.Close()
	}
	_ = post("/rate?rps=500", 204).Body.Close()
	read := func(query string) ledger.Snapshot {
		t.Helper()
		resp, err := http.Get(api.URL + "/stats" + query)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		var s ledger.Snapshot
		if err := json.NewDecoder(resp.Body).Decode(&s); err != nil {
			t.Fatal(err)
		}
		return s
	}
	deadline := time.Now().Add(10 * time.Second)
	for read("").Total.Done == 0 {
		if time.Now().After(deadline) {
			t.Fatal("no request was sent after the rate was set")
		}
	}
	if s := read("?since=2020-01-01T00:00:00Z"); len(s.Timeline) == 0 || s.Rate != 500 {
		t.Errorf("rate %v, timeline %v", s.Rate, s.Timeline)
	}
	asked := post("/ask?header.x-a=b&url="+shop.URL, 200)
	defer asked.Body.Close()
	var got answer
	if err := json.NewDecoder(asked.Body).Decode(&got); err != nil || got.Status != 200 || got.Header.Get(hop.HeaderVersion) != "v1" {
		t.Errorf("asked: %+v, %v", got, err)
	}
	resp := post("/cut", 200)
	defer resp.Body.Close()
	if got := read("").Window.ID; got != 2 {
		t.Errorf("window %d after a cut, want 2", got)
	}
}

func TestParse(t *testing.T) {
	none := func(string) (string, bool) { return "", false }
	o, err := parse([]string{"--url=http://catalog:80/"}, func(k string) (string, bool) { return "25", k == "LOAD_RPS" })
	if err != nil || o.plan.rate != 25 {
		t.Errorf("rate %v, error %v", o.plan.rate, err)
	}
	for _, args := range []string{"", "--url=https://x", "--url=http://x --rps=-1", "--url=http://x --timeout=0s", "--url=http://x more", "--url=ws://x/ws --cookies=2", "--url=http://x --visits=-1"} {
		if _, err := parse(strings.Fields(args), none); err == nil {
			t.Errorf("parse(%q): no error", args)
		}
	}
}
