package load

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// Bulk reads as much as comes on some connections to a server that speaks first and never ends.
type Bulk struct {
	Address     string
	Connections int
	Duration    time.Duration
	// Begin is what each connection must begin with.
	Begin []byte
}

// Run reads. Bytes are all that arrived; Done counts the connections.
func (b Bulk) Run(ctx context.Context) (Outcome, error) {
	began := time.Now()
	end := began.Add(b.Duration)
	var total atomic.Int64
	var readers sync.WaitGroup
	failures := make([]error, b.Connections)
	for i := range b.Connections {
		readers.Go(func() { failures[i] = b.read(ctx, end, &total) })
	}
	readers.Wait()
	if err := errors.Join(failures...); err != nil {
		return Outcome{}, fmt.Errorf("read from %s: %w", b.Address, err)
	}
	return Outcome{Done: int64(b.Connections), Bytes: total.Load(), Took: time.Since(began)}, nil
}

// read reads one connection until the end.
func (b Bulk) read(ctx context.Context, end time.Time, total *atomic.Int64) error {
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "tcp", b.Address)
	if err != nil {
		return err //nolint:wrapcheck // net says what and where
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	if err := conn.SetDeadline(end); err != nil {
		return fmt.Errorf("set deadline: %w", err)
	}
	expected, buffer := b.Begin, make([]byte, 256<<10)
	for {
		n, err := conn.Read(buffer)
		check := min(n, len(expected))
		if !bytes.Equal(buffer[:check], expected[:check]) {
			return errors.New("other bytes came than were sent")
		}
		expected = expected[check:]
		total.Add(int64(n))
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded) && len(expected) == 0:
			return nil
		case err != nil:
			return err //nolint:wrapcheck // net says what and where
		}
	}
}
