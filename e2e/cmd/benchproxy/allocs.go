package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/sluice-mesh/sluice/e2e/benchproxy/contender"
)

// mallocs is the series of the Go runtime's allocations so far.
const mallocs = "go_memstats_mallocs_total"

// allocations counts those of our proxy for each request, over enough requests that a reading of the metrics
// and the opening of connections do not show.
func (b *bench) allocations(ctx context.Context) error {
	if !b.wantsOurs("allocs") {
		return nil
	}
	b.log.Info("measuring", "what", "allocs")
	small := loads[0]
	return b.withOurs(ctx, "allocs", b.site, onlyH1, func(ours *contender.Running) error {
		point := ours.Points[contender.HTTP1]
		if _, err := b.measure(ctx, small, point, time.Second); err != nil {
			return err
		}
		before, err := scrape(ctx, point.Admin, mallocs)
		if err != nil {
			return err
		}
		out, err := small.run(ctx, b, point.Address, 5*b.duration)
		if err != nil {
			return err
		}
		if err := out.Check(small.size); err != nil {
			return err //nolint:wrapcheck // it says all there is to say
		}
		after, err := scrape(ctx, point.Admin, mallocs)
		if err != nil {
			return err
		}
		b.give(bars.New("allocs_per_request", "allocations", (after-before)/float64(out.Done),
			fmt.Sprintf("%.0f in %d requests", after-before, out.Done)))
		return nil
	})
}

// scrape reads one metric of our proxy, the sum of its series.
func scrape(ctx context.Context, admin, metric string) (float64, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+admin+"/metrics", http.NoBody)
	if err != nil {
		return 0, fmt.Errorf("read metrics: %w", err)
	}
	request.Close = true
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, fmt.Errorf("read metrics: %w", err)
	}
	defer response.Body.Close()
	return sumOf(response.Body, metric)
}

// sumOf sums the series of a metric in Prometheus' text format. None are 0: a counter with labels has no series
// before it counts.
func sumOf(metrics io.Reader, metric string) (sum float64, err error) {
	lines := bufio.NewScanner(metrics)
	for lines.Scan() {
		rest, found := strings.CutPrefix(lines.Text(), metric)
		if !found || !strings.HasPrefix(rest, " ") && !strings.HasPrefix(rest, "{") {
			continue
		}
		value, err := strconv.ParseFloat(rest[strings.LastIndexByte(rest, ' ')+1:], 64)
		if err != nil {
			return 0, fmt.Errorf("read %s: %w", metric, err)
		}
		sum += value
	}
	if err := lines.Err(); err != nil {
		return 0, fmt.Errorf("read metrics: %w", err)
	}
	return sum, nil
}
