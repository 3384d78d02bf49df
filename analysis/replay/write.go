package replay

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/prometheus/common/model"
)

// Writer writes a recording. Close finishes it; it does not close what is written to.
type Writer struct {
	out   io.Writer
	zip   *gzip.Writer
	bytes int64
	most  int64
}

// NewWriter begins a recording with its header, gzipped or not. Beyond so many bytes, uncompressed, Add
// fails; zero: MaxRecording.
func NewWriter(out io.Writer, zipped bool, header Header, most int64) (*Writer, error) {
	w := &Writer{out: out, most: most}
	if w.most <= 0 || w.most > MaxRecording {
		w.most = MaxRecording
	}
	if zipped {
		w.zip = gzip.NewWriter(out)
		w.out = w.zip
	}
	header.Version = Version
	if err := header.refuse(); err != nil {
		return nil, err
	}
	return w, w.write(header)
}

// Add writes one piece. The pieces must follow each other in time.
func (w *Writer) Add(matrix model.Matrix) error {
	if len(matrix) == 0 {
		return nil
	}
	return w.write(line{data: data{ResultType: "matrix", Result: matrix}})
}

func (w *Writer) write(value any) error {
	text, err := json.Marshal(value)
	if err != nil {
		return fmt.Errorf("write recording: %w", err)
	}
	if w.bytes += int64(len(text)) + 1; w.bytes > w.most || len(text) >= maxLine {
		return fmt.Errorf("%w: more than %d MiB", ErrTooMuch, w.most>>20)
	}
	if _, err := w.out.Write(append(text, '\n')); err != nil {
		return fmt.Errorf("write recording: %w", err)
	}
	return nil
}

// ErrTooMuch says that a range has more samples than are recorded or read.
var ErrTooMuch = errors.New("too many samples")

// Close writes what is left.
func (w *Writer) Close() error {
	if w.zip == nil {
		return nil
	}
	if err := w.zip.Close(); err != nil {
		return fmt.Errorf("write recording: %w", err)
	}
	return nil
}

// Memory keeps a recording in memory.
type Memory struct{ buffer bytes.Buffer }

// Write implements io.Writer.
func (m *Memory) Write(p []byte) (int, error) { return m.buffer.Write(p) }

// Open gives what was written, from its beginning, as often as it is asked.
func (m *Memory) Open() (io.ReadCloser, error) {
	return io.NopCloser(bytes.NewReader(m.buffer.Bytes())), nil
}
