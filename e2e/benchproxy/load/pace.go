package load

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"runtime"
	"runtime/debug"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// Paced is a load of so many requests a second, sent when the clock says and not when an answer has come: a
// slow answer delays nobody, and the latency of each request counts from the moment it was due, so that
// waiting for a free connection or for the generator itself is not left out.
type Paced struct {
	Address netip.AddrPort
	// Request is sent as it is. Its response must be a 200 with a Content-Length.
	Request []byte
	// Rate a second, on so many kept connections that take turns.
	Rate, Connections int
	Duration          time.Duration
}

// PacedOutcome is what came of it.
type PacedOutcome struct {
	Outcome
	// LateP99 is how late the generator sent, which is in the latencies. Where it is not small against them,
	// the machine is too busy to measure.
	LateP99 time.Duration
}

// patience is how long the last answers may take.
const patience = 10 * time.Second

// Run sends the requests. A request that fails, for whatever reason, fails the run.
//
// One thread waits on epoll with a timer of the kernel: the timers of the Go runtime wake up to a millisecond
// late when the process has nothing else to do, which is more than what is measured here.
func (p Paced) Run(ctx context.Context) (PacedOutcome, error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	runtime.GC()
	defer debug.SetGCPercent(debug.SetGCPercent(-1))

	r := pacer{Paced: p, total: int(float64(p.Rate) * p.Duration.Seconds())}
	defer r.close()
	if err := r.open(); err != nil {
		return PacedOutcome{}, fmt.Errorf("open connections to %s: %w", p.Address, err)
	}
	if err := r.run(ctx); err != nil {
		return PacedOutcome{}, fmt.Errorf("send %d requests a second to %s: %w", p.Rate, p.Address, err)
	}
	slices.Sort(r.latencies)
	slices.Sort(r.lateness)
	return PacedOutcome{
		Outcome: Outcome{
			Done: int64(len(r.latencies)), Bytes: r.bytes, Took: time.Since(r.began),
			P50: quantile(r.latencies, .5), P99: quantile(r.latencies, .99),
		},
		LateP99: quantile(r.lateness, .99),
	}, nil
}

// quantile of sorted values: the smallest that at least this share of them does not exceed.
func quantile(sorted []time.Duration, share float64) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[max(int(float64(len(sorted))*share+.999999), 1)-1]
}

// pacer is one run.
type pacer struct {
	Paced
	total       int
	epoll, tick int
	lines       []*line
	free        []*line // in the order in which they became free
	byFD        map[int32]*line

	began               time.Time
	sent                int
	latencies, lateness []time.Duration
	bytes               int64
	buffer              [64 << 10]byte
}

// line is one connection.
type line struct {
	fd       int
	due      time.Time
	response response
}

func (r *pacer) open() (err error) {
	r.epoll, r.tick, r.byFD = -1, -1, map[int32]*line{}
	if r.epoll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return fmt.Errorf("create epoll: %w", err)
	}
	if r.tick, err = unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC); err != nil {
		return fmt.Errorf("create timer: %w", err)
	}
	if err := r.watch(r.tick); err != nil {
		return err
	}
	for range r.Connections {
		fd, err := dial(r.Address)
		if err != nil {
			return err
		}
		l := &line{fd: fd}
		r.lines, r.free, r.byFD[int32(fd)] = append(r.lines, l), append(r.free, l), l
		if err := r.watch(fd); err != nil {
			return err
		}
	}
	r.latencies, r.lateness = make([]time.Duration, 0, r.total), make([]time.Duration, 0, r.total)
	return nil
}

func (r *pacer) watch(fd int) error {
	return unix.EpollCtl(r.epoll, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(fd)}) //nolint:wrapcheck // wrapped by Run
}

func (r *pacer) close() {
	for _, l := range r.lines {
		_ = unix.Close(l.fd)
	}
	_ = unix.Close(r.tick)
	_ = unix.Close(r.epoll)
}

// due is when request n has to go out.
func (r *pacer) due(n int) time.Time {
	return r.began.Add(time.Duration(n) * time.Second / time.Duration(r.Rate))
}

func (r *pacer) run(ctx context.Context) error {
	r.began = time.Now()
	last := r.due(r.total).Add(patience)
	events := make([]unix.EpollEvent, len(r.lines)+1)
	for len(r.latencies) < r.total {
		if err := r.sendDue(); err != nil {
			return err
		}
		if err := r.arm(); err != nil {
			return err
		}
		n, err := unix.EpollWait(r.epoll, events, 100)
		if err != nil && !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("wait: %w", err)
		}
		for _, event := range events[:max(n, 0)] {
			if err := r.take(event.Fd); err != nil {
				return err
			}
		}
		if err := ctx.Err(); err != nil {
			return err //nolint:wrapcheck // wrapped by Run
		}
		if time.Now().After(last) {
			return fmt.Errorf("%d of %d requests were not answered within %v", r.total-len(r.latencies), r.total, patience)
		}
	}
	return nil
}

// sendDue sends what is due as far as connections are free.
func (r *pacer) sendDue() error {
	for r.sent < r.total && len(r.free) > 0 {
		now, due := time.Now(), r.due(r.sent)
		if now.Before(due) {
			return nil
		}
		l := r.free[0]
		r.free = append(r.free[:0], r.free[1:]...)
		if n, err := unix.Write(l.fd, r.Request); err != nil || n != len(r.Request) {
			return fmt.Errorf("write %d of %d bytes: %w", n, len(r.Request), err)
		}
		l.due = due
		r.lateness = append(r.lateness, now.Sub(due))
		r.sent++
	}
	return nil
}

// arm sets the timer to the next request; without a free connection there is nothing to wake up for.
func (r *pacer) arm() error {
	var spec unix.ItimerSpec
	if r.sent < r.total && len(r.free) > 0 {
		spec.Value = unix.NsecToTimespec(int64(max(time.Until(r.due(r.sent)), 1)))
	}
	if err := unix.TimerfdSettime(r.tick, 0, &spec, nil); err != nil {
		return fmt.Errorf("set timer: %w", err)
	}
	return nil
}

// take reads what a descriptor has.
func (r *pacer) take(fd int32) error {
	n, err := unix.Read(int(fd), r.buffer[:])
	if errors.Is(err, unix.EAGAIN) || fd == int32(r.tick) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read: %w", err)
	}
	l := r.byFD[fd]
	if n == 0 || l.due.IsZero() {
		return fmt.Errorf("the connection was closed or had %d bytes that nobody asked for", n)
	}
	r.bytes += int64(n)
	complete, err := l.response.add(r.buffer[:n])
	if err != nil {
		return err
	}
	if complete {
		r.latencies = append(r.latencies, time.Since(l.due))
		l.response.reset()
		l.due = time.Time{}
		r.free = append(r.free, l)
	}
	return nil
}

// dial opens a connection that does not block.
func dial(address netip.AddrPort) (int, error) {
	family, target := unix.AF_INET6, unix.Sockaddr(&unix.SockaddrInet6{Port: int(address.Port()), Addr: address.Addr().As16()})
	if address.Addr().Is4() {
		family, target = unix.AF_INET, &unix.SockaddrInet4{Port: int(address.Port()), Addr: address.Addr().As4()}
	}
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, fmt.Errorf("make socket: %w", err)
	}
	err = errors.Join(
		unix.Connect(fd, target),
		unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1),
		unix.SetNonblock(fd, true),
	)
	if err != nil {
		_ = unix.Close(fd)
		return 0, fmt.Errorf("connect: %w", err)
	}
	return fd, nil
}
