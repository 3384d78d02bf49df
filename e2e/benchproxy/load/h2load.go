package load

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"time"

	"github.com/sluice-mesh/sluice/e2e/benchproxy/process"
)

// H2 is as many HTTP/2 requests as go through, on few connections with several streams each.
type H2 struct {
	// URL; http is HTTP/2 over cleartext from the first byte.
	URL                  string
	Connections, Streams int
	// Body is posted as gRPC; nil: GET.
	Body     []byte
	Duration time.Duration
	// Core to run on, and the folder for its files.
	Core int
	Dir  string
}

// Run runs h2load.
func (h H2) Run(ctx context.Context) (Outcome, error) {
	args := []string{
		"-t1", "-c", strconv.Itoa(h.Connections), "-m", strconv.Itoa(h.Streams),
		"-D", strconv.FormatInt(h.Duration.Milliseconds(), 10) + "ms",
	}
	if h.Body != nil {
		data := filepath.Join(h.Dir, "grpc.message")
		if err := os.WriteFile(data, h.Body, 0o644); err != nil {
			return Outcome{}, fmt.Errorf("write message for h2load: %w", err)
		}
		args = append(args, "-d", data, "-H", "content-type: application/grpc", "-H", "te: trailers")
	}
	text, err := output(ctx, process.Spec{Name: "h2load", Core: h.Core, Path: "h2load", Args: append(args, h.URL), Dir: h.Dir})
	if err != nil {
		return Outcome{}, err
	}
	o, err := parseH2load(text)
	o.Took = h.Duration
	return o, err
}

var (
	h2Requests = regexp.MustCompile(`(?m)^requests: \d+ total, \d+ started, (\d+) done, (\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout`)
	h2Traffic  = regexp.MustCompile(`(?m)^traffic: .*\((\d+)\) data$`)
)

// parseH2load reads the summary: requests by their end (failed ones are errored, timed out or without a 2xx or
// 3xx) and the bytes of DATA frames.
func parseH2load(text string) (Outcome, error) {
	requests, traffic := h2Requests.FindStringSubmatch(text), h2Traffic.FindStringSubmatch(text)
	if requests == nil || traffic == nil {
		return Outcome{}, fmt.Errorf("parse output of h2load: no summary in %q", text)
	}
	var n [6]int64
	for i, digits := range append(requests[1:], traffic[1]) {
		var err error
		if n[i], err = strconv.ParseInt(digits, 10, 64); err != nil {
			return Outcome{}, fmt.Errorf("parse output of h2load: %w", err)
		}
	}
	o := Outcome{Done: n[0], Failed: max(n[0]-n[1], n[2]), Bytes: n[5]}
	if o.Failed > 0 {
		o.Failures = fmt.Sprintf("%d succeeded, %d failed, of those %d errored and %d took too long", n[1], n[2], n[3], n[4])
	}
	return o, nil
}
