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
	"github.com/sluice-mesh/sluice/e2e/benchproxy/figure"
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
		before, err := scrape(ctx, ours.Admin, mallocs)
		if err != nil {
			return err
		}
		s, err := b.measure(ctx, small, point, 3*b.duration)
		if err != nil {
			return err
		}
		after, err := scrape(ctx, ours.Admin, mallocs)
		if err != nil {
			return err
		}
		b.give(figure.New("allocs_per_request", "allocations", (after-before)/s.done,
			fmt.Sprintf("%.0f in %.0f requests", after-before, s.done)))
		return nil
	})
}

// scrape reads one series without labels.
func scrape(ctx context.Context, admin, series string) (float64, error) {
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
	return seriesIn(response.Body, series)
}

func seriesIn(metrics io.Reader, series string) (float64, error) {
	lines := bufio.NewScanner(metrics)
	for lines.Scan() {
		if text, found := strings.CutPrefix(lines.Text(), series+" "); found {
			value, err := strconv.ParseFloat(text, 64)
			if err != nil {
				return 0, fmt.Errorf("read %s: %w", series, err)
			}
			return value, nil
		}
	}
	if err := lines.Err(); err != nil {
		return 0, fmt.Errorf("read metrics: %w", err)
	}
	return 0, fmt.Errorf("read metrics: there is no %s", series)
}
