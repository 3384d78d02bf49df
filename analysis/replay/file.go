package replay

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"time"

	"github.com/prometheus/common/model"
)

// Version of the recordings that are written and read here.
const Version = 1

const (
	// maxLine is the most that one line of a recording may have, uncompressed: a piece of some minutes.
	maxLine = 128 << 20
	// MaxRecording is the most that a whole recording may have, uncompressed.
	MaxRecording = 4 << 30
)

// Header is the first line of a recording. Of a recording that somebody made by hand it needs Version and
// either Namespace and Service, for series of Sluice's proxies, or Foreign.
type Header struct {
	Version int `json:"sluiceReplay"`
	// From and Until are the time that was asked for; there are samples from a little earlier.
	From  time.Time `json:"from,omitzero"`
	Until time.Time `json:"until,omitzero"`
	// Namespace and Service that were called.
	Namespace string `json:"namespace,omitempty"`
	Service   string `json:"service,omitempty"`
	// Release is what was found out about the release; nil: to be found out.
	Release *Release `json:"release,omitempty"`
	// Foreign says how series of another mesh are read; nil: they are those of Sluice's proxies.
	Foreign *Foreign `json:"foreign,omitempty"`
}

// refuse says what is wrong with a header that was read.
func (h Header) refuse() error {
	switch {
	case h.Version == 0:
		return errors.New("the first line has no sluiceReplay: it is not a recording of sluice analyze --record")
	case h.Version != Version:
		return fmt.Errorf("the recording has version %d, and this program reads version %d", h.Version, Version)
	case h.Foreign == nil && (h.Namespace == "" || h.Service == ""):
		return errors.New("the first line names no namespace and service")
	case h.Foreign != nil && h.Release != nil:
		return errors.New("the first line has both foreign and release: the course of a foreign release is found in its series")
	}
	if h.Release != nil {
		return h.Release.refuse()
	}
	return nil
}

// A Recording is what was read from a Prometheus, in a file or in memory: a header and then the raw
// samples, piece after piece in time, as Prometheus' API writes a matrix; one JSON value a line, gzipped
// or not.
type Recording struct {
	Header Header
	open   func() (io.ReadCloser, error)
}

// Open reads the header of a recording. It opens the recording again for each reading.
func Open(open func() (io.ReadCloser, error)) (*Recording, error) {
	r := &Recording{open: open}
	err := r.lines(func(number int, line []byte) error {
		if number > 1 {
			return errEnough
		}
		if err := json.Unmarshal(line, &r.Header); err != nil {
			return fmt.Errorf("line 1: not a recording's header: %w", err)
		}
		return r.Header.refuse()
	})
	switch {
	case err != nil && !errors.Is(err, errEnough):
		return nil, err
	case r.Header.Version == 0:
		return nil, errors.New("the recording is empty")
	}
	return r, nil
}

// errEnough ends a reading early.
var errEnough = errors.New("enough")

// line is one piece: a matrix by itself, or within the envelope that the API puts around it.
type line struct {
	Status string `json:"status,omitempty"`
	Data   *data  `json:"data,omitempty"`
	data
}

type data struct {
	ResultType string       `json:"resultType,omitempty"`
	Result     model.Matrix `json:"result,omitempty"`
}

// Each calls visit with every piece, in order.
func (r *Recording) Each(ctx context.Context, visit func(model.Matrix) error) error {
	last := int64(math.MinInt64)
	return r.lines(func(number int, text []byte) error {
		if number == 1 {
			return ctx.Err()
		}
		matrix, err := parseLine(text)
		if err != nil {
			return fmt.Errorf("line %d: %w", number, err)
		}
		first, newest, some := extent(matrix)
		if !some {
			return ctx.Err()
		}
		if first <= last {
			return fmt.Errorf("line %d: its samples begin before those of the lines before it end: sort the lines by time, and ask for pieces that do not overlap", number)
		}
		last = newest
		if err := visit(matrix); err != nil {
			return err
		}
		return ctx.Err()
	})
}

// parseLine reads one piece and holds its samples to what a counter's can be.
func parseLine(text []byte) (model.Matrix, error) {
	var l line
	if err := json.Unmarshal(text, &l); err != nil {
		return nil, fmt.Errorf("not a matrix of Prometheus' API: %w", err)
	}
	found := l.data
	if l.Data != nil {
		found = *l.Data
	}
	if found.ResultType != "matrix" || (l.Status != "" && l.Status != "success") {
		return nil, errors.New(`no matrix: ask Prometheus for a range of raw samples, as in query=metric[5m]`)
	}
	for _, stream := range found.Result {
		if stream == nil {
			return nil, errors.New("a series is null")
		}
		last := int64(0)
		for _, sample := range stream.Values {
			at := int64(sample.Timestamp)
			if at <= last || at > latest {
				return nil, fmt.Errorf("samples of %s are not in order of time", clip(stream.Metric.String()))
			}
			last = at
		}
		last = 0
		for _, sample := range stream.Histograms {
			at := int64(sample.Timestamp)
			if at <= last || at > latest {
				return nil, fmt.Errorf("histograms of %s are not in order of time", clip(stream.Metric.String()))
			}
			last = at
		}
	}
	return found.Result, nil
}

// latest time of a sample, in milliseconds: the year 9999.
const latest = 253_370_764_800_000

// extent is the time of the first and of the newest sample.
func extent(matrix model.Matrix) (first, newest int64, some bool) {
	first, newest = math.MaxInt64, math.MinInt64
	see := func(at model.Time) {
		first, newest, some = min(first, int64(at)), max(newest, int64(at)), true
	}
	for _, stream := range matrix {
		for _, sample := range stream.Values {
			see(sample.Timestamp)
		}
		for _, sample := range stream.Histograms {
			see(sample.Timestamp)
		}
	}
	return first, newest, some
}

// lines calls visit with every line that is not empty, numbered from 1 as they are in the file.
func (r *Recording) lines(visit func(number int, text []byte) error) error {
	file, err := r.open()
	if err != nil {
		return err
	}
	defer file.Close()
	plain, err := unzip(file)
	if err != nil {
		return err
	}
	left := &io.LimitedReader{R: plain, N: MaxRecording}
	scanner := bufio.NewScanner(left)
	scanner.Buffer(make([]byte, 64<<10), maxLine)
	for number := 1; scanner.Scan(); number++ {
		if text := bytes.TrimSpace(scanner.Bytes()); len(text) > 0 {
			if err := visit(number, text); err != nil {
				return err
			}
		}
	}
	switch err := scanner.Err(); {
	case errors.Is(err, bufio.ErrTooLong):
		return fmt.Errorf("a line of more than %d MiB: ask Prometheus for shorter ranges, one a line", maxLine>>20)
	case err != nil:
		return fmt.Errorf("read recording: %w", err)
	case left.N <= 0:
		return fmt.Errorf("the recording has more than %d GiB", MaxRecording>>30)
	}
	return nil
}

// unzip looks at the first bytes, so that a name need not tell.
func unzip(file io.Reader) (io.Reader, error) {
	buffered := bufio.NewReader(file)
	if magic, err := buffered.Peek(2); err != nil || magic[0] != 0x1f || magic[1] != 0x8b {
		return buffered, nil //nolint:nilerr // too short to be zipped; reading tells what it is
	}
	plain, err := gzip.NewReader(buffered)
	if err != nil {
		return nil, fmt.Errorf("unzip recording: %w", err)
	}
	return plain, nil
}
