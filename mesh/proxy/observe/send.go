package observe

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/sluice-mesh/sluice/mesh/ir"
)

const (
	// tries at sending a batch, with a pause between them that doubles from retryMin to retryMax, or that the
	// collector asks for, up to retryMax.
	tries    = 5
	retryMin = time.Second
	retryMax = 15 * time.Second
)

// send sends a batch or gives it up.
func (e *exporter) send(b batch) {
	message := slices.Concat(e.before, b.spans, e.after)
	pause := retryMin
	for try := 1; ; try++ {
		rejected, err := e.post(message)
		if err == nil {
			e.metrics.sent.Add(float64(b.n - min(rejected, b.n)))
			if rejected > 0 {
				e.metrics.dropped.WithLabelValues(refused).Add(float64(min(rejected, b.n)))
			}
			e.report(nil)
			return
		}
		var later *laterError
		again := errors.As(err, &later)
		if !again || try == tries || !e.wait(cmp.Or(later.after, pause/2+time.Duration(e.random()%uint64(pause/2)))) {
			why := refused
			if again {
				why = unreachable
			}
			e.metrics.dropped.WithLabelValues(why).Add(float64(b.n))
			e.report(err)
			return
		}
		pause = min(2*pause, retryMax)
	}
}

// wait pauses; false: the exporter is ending, and there is no time to try again.
func (e *exporter) wait(pause time.Duration) bool {
	timer := time.NewTimer(min(pause, retryMax))
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-e.ending:
		return false
	}
}

// report logs when the collector begins to fail, and when it is well again.
func (e *exporter) report(err error) {
	switch {
	case err != nil && !e.failing:
		e.logger.Warn("spans are dropped: see whether the collector runs and takes this format at this path", "error", err)
	case err == nil && e.failing:
		e.logger.Info("the collector takes spans again")
	}
	e.failing = err != nil
}

// laterError says that the same message may be taken later, and when the collector said so, how much.
type laterError struct {
	err   error
	after time.Duration // 0: it did not say
}

func (l *laterError) Error() string { return l.err.Error() }
func (l *laterError) Unwrap() error { return l.err }

// post sends a message once. Rejected spans are those that the collector did not want of a message that it
// has taken. What may be tried again is a *laterError.
func (e *exporter) post(message []byte) (rejected int, err error) {
	request, err := http.NewRequestWithContext(e.life, http.MethodPost, e.url, bytes.NewReader(message))
	if err != nil {
		return 0, fmt.Errorf("make request: %w", err)
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("User-Agent", "sluice-proxy/"+cmp.Or(e.resource.Version, "0"))
	response, err := e.client.Do(request)
	if err != nil {
		var failed *url.Error // which names the address, with what may be secret in it
		if errors.As(err, &failed) {
			err = failed.Err
		}
		return 0, &laterError{err: err}
	}
	defer response.Body.Close()
	answer, _ := io.ReadAll(io.LimitReader(response.Body, 4096)) // what it says is worth having, not needed
	switch status := response.StatusCode; {
	case status/100 == 2:
		return rejectedSpans(e.format, answer), nil
	case status == 429 || status >= 502 && status <= 504: // those that OTLP calls retryable
		return 0, &laterError{fmt.Errorf("send spans: %s", response.Status), e.retryAfter(response)}
	default:
		return 0, fmt.Errorf("send spans: %s: %.200q", response.Status, answer)
	}
}

func (e *exporter) retryAfter(response *http.Response) time.Duration {
	value := response.Header.Get("Retry-After")
	if seconds, err := strconv.ParseUint(value, 10, 16); err == nil {
		return time.Duration(seconds) * time.Second //nolint:gosec // 16 bits
	}
	if at, err := http.ParseTime(value); err == nil {
		return max(at.Sub(e.now()), 0)
	}
	return 0
}

// rejectedSpans reads OTLP's partial success.
func rejectedSpans(format ir.TraceFormat, answer []byte) int {
	if format == ir.Zipkin || !bytes.Contains(answer, []byte("rejectedSpans")) {
		return 0
	}
	var read struct {
		PartialSuccess struct {
			RejectedSpans json.RawMessage `json:"rejectedSpans"`
		} `json:"partialSuccess"`
	}
	_ = json.Unmarshal(answer, &read)                                                               // then there is no number
	n, _ := strconv.ParseUint(strings.Trim(string(read.PartialSuccess.RejectedSpans), `"`), 10, 31) // a text or a number
	return int(n)                                                                                   //nolint:gosec // 31 bits
}
