package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

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
	cookies  int // how many clients with cookies there are; 0: one without
	visits   int // after which a client with cookies leaves; 0: it stays
}

// maxRate bounds the rate that can be asked for.
const maxRate = 100_000

func (p plan) validate() error {
	u, err := url.Parse(p.url)
	switch {
	case err != nil:
		return fmt.Errorf("parse url: %w", err)
	case u.Host == "" || !slices.Contains([]string{"http", "grpc", "ws", "tcp"}, u.Scheme):
		return fmt.Errorf("check url: %q is not http://host:port/path, or grpc://, ws:// or tcp://", p.url)
	case p.rate < 0 || p.rate > maxRate:
		return fmt.Errorf("check rps: %v is not between 0 and %d", p.rate, maxRate)
	case p.cookies < 0 || p.visits < 0 || p.cookies > 0 && u.Scheme != "http":
		return fmt.Errorf("check flags: cookies and visits must not be negative, and go with http only")
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
	sender sender
	rates  chan float64
}

func newGenerator(p plan, book *ledger.Ledger) (*generator, error) {
	sender, err := newSender(p)
	if err != nil {
		return nil, err
	}
	return &generator{plan: p, book: book, sender: sender, rates: make(chan float64, 1)}, nil
}

// idle is how long an idle connection is kept.
const idle = 30 * time.Second

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

// send makes one request.
func (g *generator) send(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, g.plan.timeout)
	defer cancel()
	request := g.book.Begin()
	g.book.Finish(request, g.sender.send(ctx))
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
