package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/sluice-mesh/sluice/e2e/hop"
	"github.com/sluice-mesh/sluice/e2e/load/ledger"
)

// plan says what to send.
type plan struct {
	url      string
	service  string
	rate     float64
	duration time.Duration
	count    uint64
	timeout  time.Duration
	inFlight int
}

// maxRate bounds the rate that can be asked for.
const maxRate = 100_000

func (p plan) validate() error {
	u, err := url.Parse(p.url)
	switch {
	case err != nil:
		return fmt.Errorf("parse url: %w", err)
	case u.Scheme != "http" || u.Host == "":
		return fmt.Errorf("check url: %q is not http://host:port/path", p.url)
	case p.rate < 0 || p.rate > maxRate:
		return fmt.Errorf("check rps: %v is not between 0 and %d", p.rate, maxRate)
	case p.timeout <= 0 || p.duration < 0 || p.inFlight < 1:
		return fmt.Errorf("check flags: timeout and in-flight must be positive, duration not negative")
	}
	return nil
}

// bounded reports whether the plan ends by itself.
func (p plan) bounded() bool { return p.duration > 0 || p.count > 0 }

// generator sends requests at a constant rate.
type generator struct {
	plan   plan
	book   *ledger.Ledger
	client *http.Client
	rates  chan float64
}

func newGenerator(p plan, book *ledger.Ledger) *generator {
	return &generator{
		plan: p, book: book, rates: make(chan float64, 1),
		client: &http.Client{
			Transport:     &http.Transport{MaxIdleConnsPerHost: 256, IdleConnTimeout: 30 * time.Second, DisableCompression: true},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}
}

// setRate changes the rate from now on.
func (g *generator) setRate(rate float64) {
	for {
		select {
		case g.rates <- rate:
			return
		case <-g.rates: // an older one nobody has taken yet
		}
	}
}

// tick is the shortest time between two looks at what is due: at 500 a second each request has its own.
const tick = time.Millisecond

// next is how long it takes until the next request is due, one tick at least.
func next(since time.Time, sent uint64, rate float64) time.Duration {
	if rate <= 0 {
		return time.Second
	}
	due := since.Add(time.Duration(float64(sent+1) / rate * float64(time.Second)))
	return max(time.Until(due), tick)
}

// run sends until the plan or the context ends, and returns when the last request has ended.
func (g *generator) run(ctx context.Context) {
	var group sync.WaitGroup
	defer group.Wait()
	slots := make(chan struct{}, g.plan.inFlight)
	timer := time.NewTimer(0)
	defer timer.Stop()
	began := time.Now()
	rate, since, sent, total := g.plan.rate, began, uint64(0), uint64(0)
	g.book.SetRate(rate)
	for {
		select {
		case <-ctx.Done():
			return
		case rate = <-g.rates:
			since, sent = time.Now(), 0
			g.book.SetRate(rate)
			timer.Reset(next(since, sent, rate))
			continue
		case <-timer.C:
		}
		if g.plan.duration > 0 && time.Since(began) >= g.plan.duration {
			return
		}
		for due := uint64(time.Since(since).Seconds() * rate); sent < due; sent++ {
			if g.plan.count > 0 && total >= g.plan.count {
				return
			}
			total++
			select {
			case slots <- struct{}{}:
				group.Go(func() {
					defer func() { <-slots }()
					g.send(context.WithoutCancel(ctx)) // a request that was sent gets its end
				})
			default:
				g.book.Skip()
			}
		}
		timer.Reset(next(since, sent, rate))
	}
}

// onceBody is an empty body that the transport cannot rewind: without it the transport would
// silently send a GET again whose connection broke, and hide what the mesh did.
type onceBody struct{}

func (onceBody) Read([]byte) (int, error) { return 0, io.EOF }
func (onceBody) Close() error             { return nil }

// send makes one request.
func (g *generator) send(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, g.plan.timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, g.plan.url, onceBody{})
	if err != nil {
		return // the URL was checked at the start
	}
	request := g.book.Begin()
	resp, err := g.client.Do(req)
	if err == nil {
		_, err = io.Copy(io.Discard, io.LimitReader(resp.Body, 1<<20))
		_ = resp.Body.Close()
	}
	if err != nil {
		g.book.Finish(request, ledger.End{Lost: reason(err), Detail: err.Error()})
		return
	}
	g.book.Finish(request, judge(resp, g.plan.service))
}

// judge tells from a complete response who made it.
func judge(resp *http.Response, service string) ledger.End {
	version := resp.Header.Get(hop.HeaderVersion)
	if version == "" {
		return ledger.End{Lost: fmt.Sprintf("status %d", resp.StatusCode), Detail: resp.Header.Get("Server")}
	}
	hops, err := hop.Parse(resp.Header.Get(hop.HeaderTrace))
	if err != nil {
		return ledger.End{Lost: "trace", Detail: err.Error()}
	}
	end := ledger.End{Version: version, Status: resp.StatusCode}
	for _, h := range hops {
		if h.Lost() {
			return ledger.End{Lost: fmt.Sprintf("status %d to %s", h.Status, h.Service), Detail: hop.Format(hops)}
		}
		if service != "" && h.Service == service {
			end = ledger.End{Version: h.Version, Status: h.Status}
		}
	}
	return end
}

// reason classes the error of a request that got no complete response.
func reason(err error) string {
	var timeout net.Error
	switch {
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		return "timeout"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "refused"
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return "reset"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), strings.Contains(err.Error(), "server closed idle connection"):
		return "closed"
	case strings.Contains(err.Error(), "no such host"):
		return "name"
	default:
		return "other"
	}
}
