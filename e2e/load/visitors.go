package main

import (
	"context"
	"net/http"
	"net/http/cookiejar"

	"github.com/sluice-mesh/sluice/e2e/load/ledger"
)

// visitors are clients that keep cookies. They take turns, and each has one request on the way at most.
type visitors struct {
	http    *httpSender
	waiting chan *visitor
	visits  int
}

// visitor is one of them, and knows which version it gets and which it got before.
type visitor struct {
	client *http.Client
	visits int // until it leaves
	has    string
	had    map[string]bool
}

// newVisitors makes them as if they had come one after the other, so that they do not all leave at once.
func newVisitors(p plan) *visitors {
	v := &visitors{http: newHTTPSender(p), waiting: make(chan *visitor, p.cookies), visits: p.visits}
	for i := range p.cookies {
		v.waiting <- v.newcomer(p.visits - p.visits*i/p.cookies)
	}
	return v
}

func (v *visitors) newcomer(visits int) *visitor {
	client := *v.http.client           // their connections are common
	client.Jar, _ = cookiejar.New(nil) // without options it cannot fail
	return &visitor{client: &client, visits: visits, had: map[string]bool{}}
}

func (v *visitors) send(ctx context.Context) ledger.End {
	var next *visitor
	select {
	case next = <-v.waiting:
	case <-ctx.Done():
		return lost(ctx.Err())
	}
	end := v.http.get(ctx, next.client)
	if end.Lost == "" && end.Version != next.has {
		end.Returned = next.had[end.Version]
		next.had[next.has], next.has = true, end.Version
	}
	if next.visits--; next.visits == 0 {
		next = v.newcomer(v.visits)
	}
	v.waiting <- next
	return end
}
