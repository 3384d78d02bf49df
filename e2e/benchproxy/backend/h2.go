package backend

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync/atomic"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// H2 answers HTTP/2 over cleartext: GET SmallPath with Small, and unary gRPC calls of Method with Message and
// trailers. It costs a fraction of what net/http's server does, so that the proxy in front of it has more to
// do than it has.
type H2 struct {
	listeners *listeners
	served    atomic.Int64
}

// NewH2 opens the port on all hosts.
func NewH2(ctx context.Context, port uint16) (*H2, error) {
	h := &H2{}
	l, err := listen(ctx, port, func(conn net.Conn) {
		_ = newH2Conn(conn, &h.served).run() // whoever asked sees how it ended
	})
	if err != nil {
		return nil, err
	}
	h.listeners = l
	return h, nil
}

// Served is how many requests have reached it.
func (h *H2) Served() int64 { return h.served.Load() }

// Close ends it.
func (h *H2) Close() { h.listeners.close() }

// Header blocks of the answers; they need no state of the connection.
var (
	plainHead = block(":status", "200", "content-type", "text/plain", "content-length", strconv.Itoa(len(Small)))
	grpcHead  = block(":status", "200", "content-type", "application/grpc")
	grpcTail  = block("grpc-status", "0", "grpc-message", "")
	notFound  = block(":status", "404")
)

// block encodes header fields as literals that leave the peer's table as it is.
func block(fields ...string) []byte {
	var out bytes.Buffer
	encoder := hpack.NewEncoder(&out)
	encoder.SetMaxDynamicTableSizeLimit(0)
	// The first field brings the change of the table's size along, which must not be in every block. Writing to
	// a buffer does not fail.
	_ = encoder.WriteField(hpack.HeaderField{Name: ":status", Value: "200"})
	out.Reset()
	for i := 0; i < len(fields); i += 2 {
		_ = encoder.WriteField(hpack.HeaderField{Name: fields[i], Value: fields[i+1]})
	}
	return out.Bytes()
}

// answer is what a stream gets.
type answer uint8

const (
	missing answer = iota
	plain
	grpc
)

// h2Conn is one connection. One goroutine reads, and writes the answers of all that it has read at once.
type h2Conn struct {
	reader *bufio.Reader
	writer *bufio.Writer
	framer *http2.Framer
	served *atomic.Int64

	open map[uint32]answer // streams whose request has not ended
	// window is how many bytes the peer takes; waiting streams have an answer for which it was too small.
	window  int64
	waiting []h2Waiting
	// unacknowledged bytes of bodies that came.
	unacknowledged uint32
}

type h2Waiting struct {
	stream uint32
	answer answer
}

func newH2Conn(conn net.Conn, served *atomic.Int64) *h2Conn {
	c := &h2Conn{
		reader: bufio.NewReaderSize(conn, 64<<10), writer: bufio.NewWriterSize(conn, 64<<10),
		served: served, open: map[uint32]answer{}, window: 65535,
	}
	c.framer = http2.NewFramer(c.writer, c.reader)
	c.framer.SetReuseFrames()
	c.framer.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	return c
}

func (c *h2Conn) run() error {
	preface := make([]byte, len(http2.ClientPreface))
	if _, err := io.ReadFull(c.reader, preface); err != nil || string(preface) != http2.ClientPreface {
		return fmt.Errorf("read preface %q: %w", preface, err)
	}
	if err := c.framer.WriteSettings(http2.Setting{ID: http2.SettingMaxConcurrentStreams, Val: 1000}); err != nil {
		return fmt.Errorf("write settings: %w", err)
	}
	for {
		if c.reader.Buffered() == 0 {
			if err := c.writer.Flush(); err != nil {
				return fmt.Errorf("write answers: %w", err)
			}
		}
		frame, err := c.framer.ReadFrame()
		if err != nil {
			return fmt.Errorf("read frame: %w", err)
		}
		if err := c.take(frame); err != nil {
			return err
		}
	}
}

func (c *h2Conn) take(frame http2.Frame) error {
	stream := frame.Header().StreamID
	switch f := frame.(type) {
	case *http2.MetaHeadersFrame:
		if _, open := c.open[stream]; !open {
			c.open[stream] = answerTo(f)
		}
		if f.StreamEnded() {
			return c.end(stream)
		}
	case *http2.DataFrame:
		if c.unacknowledged += f.Length; c.unacknowledged > 16<<10 {
			if err := c.framer.WriteWindowUpdate(0, c.unacknowledged); err != nil {
				return err //nolint:wrapcheck // it ends the connection
			}
			c.unacknowledged = 0
		}
		if f.StreamEnded() {
			return c.end(stream)
		}
	case *http2.WindowUpdateFrame:
		if stream == 0 {
			c.window += int64(f.Increment)
			return c.resume()
		}
	case *http2.RSTStreamFrame:
		delete(c.open, stream)
	case *http2.SettingsFrame:
		if f.IsAck() {
			return nil
		}
		if size, found := f.Value(http2.SettingInitialWindowSize); found && int(size) < len(Message) {
			return errors.New("the window of a stream is too small for an answer")
		}
		return c.framer.WriteSettingsAck() //nolint:wrapcheck // it ends the connection
	case *http2.PingFrame:
		if !f.IsAck() {
			return c.framer.WritePing(true, f.Data) //nolint:wrapcheck // it ends the connection
		}
	}
	return nil
}

// answerTo decides by the request's head.
func answerTo(head *http2.MetaHeadersFrame) answer {
	var contentType string
	for _, field := range head.RegularFields() {
		if field.Name == "content-type" {
			contentType = field.Value
		}
	}
	method, path := head.PseudoValue("method"), head.PseudoValue("path")
	switch {
	case method == "POST" && path == Method && strings.HasPrefix(contentType, "application/grpc"):
		return grpc
	case method == "GET" && path == SmallPath:
		return plain
	}
	return missing
}

// end answers a request that is complete, or lets it wait for a window.
func (c *h2Conn) end(stream uint32) error {
	a, open := c.open[stream]
	if !open {
		return nil
	}
	delete(c.open, stream)
	c.served.Add(1)
	c.waiting = append(c.waiting, h2Waiting{stream, a})
	return c.resume()
}

// resume writes the answers that the window allows.
func (c *h2Conn) resume() error {
	for len(c.waiting) > 0 {
		next := c.waiting[0]
		head, body, tail := notFound, []byte(nil), []byte(nil)
		switch next.answer {
		case plain:
			head, body = plainHead, Small
		case grpc:
			head, body, tail = grpcHead, Message, grpcTail
		}
		if c.window < int64(len(body)) {
			return nil
		}
		c.window -= int64(len(body))
		c.waiting = append(c.waiting[:0], c.waiting[1:]...)
		if err := c.write(next.stream, head, body, tail); err != nil {
			return err
		}
	}
	return nil
}

func (c *h2Conn) write(stream uint32, head, body, tail []byte) error {
	err := c.framer.WriteHeaders(http2.HeadersFrameParam{
		StreamID: stream, BlockFragment: head, EndHeaders: true, EndStream: body == nil,
	})
	if err == nil && body != nil {
		err = c.framer.WriteData(stream, tail == nil, body)
	}
	if err == nil && tail != nil {
		err = c.framer.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: tail, EndHeaders: true, EndStream: true})
	}
	return err //nolint:wrapcheck // it ends the connection
}
