// Package h2 is the proxy's HTTP/2 engine, gRPC included: it parses requests on connections it is given, has
// each one planned by the compiled configuration, and carries it to an endpoint over HTTP/2. It knows nothing
// of how connections are accepted or captured.
//
// A connection is a link, of either role. Each link has one goroutine, which reads; there is none per stream.
// A stream joins a stream of the caller's link with one of the endpoint's link. Whoever reads a frame puts
// what follows from it into the buffers of the links concerned, and writes them when it has handled all that it
// had read (see batch), after it has let other readers add to them: so many frames share a system call, and no
// goroutine has to be woken in order to write. Only where a socket takes no more, and with TLS, a goroutine
// does the writing.
//
// Flow control goes end to end: a sender gets window back as its data goes into the buffer of the other link,
// which takes data only up to maxBuffered. What waits is in the stream: at most streamWindow in each direction.
//
// Locks, in this order: a stream's, a pool's, a link's. No two of the same kind are ever held together, and
// nothing waits while it holds one.
package h2

import "time"

const (
	// streamWindow is what a peer may send on a stream before we have passed it on. In a cluster's networks
	// (below 1 ms) it carries 128 MB/s and more for a stream, and it bounds what a slow receiver makes us hold.
	streamWindow = 128 << 10
	// connWindow lets as many streams of a connection stall with full windows as a link to an endpoint has by
	// rule, without any other stream noticing.
	connWindow = enoughStreams * streamWindow
	// maxBuffered is how much a link's buffer holds before no more data goes into it.
	maxBuffered = 256 << 10
	// maxQueued is beyond what a link's buffer grows to when its peer takes in what it is sent: the rest is
	// answers that the peer provokes without reading them.
	maxQueued = 4 << 20
	// enoughStreams on a link to an endpoint make us open another one. A server reads a connection with one
	// thread as a rule; we write fewer connections with fewer system calls.
	enoughStreams = 128
	// maxFrame that we take and send: HTTP/2's default, which keeps streams from holding up each other.
	maxFrame = 16 << 10

	// tick of the janitors: streams' idle times are as exact as that.
	tick = 250 * time.Millisecond
	// writeTime is how long a peer may take none of a full buffer.
	writeTime = time.Minute
	// stallTime is how long a receiver may grant no window for data that is there.
	stallTime = 5 * time.Minute
	// lingerTime is how long we wait for a peer to close, after we have said our last.
	lingerTime = time.Second
	// settingsTime is how long an endpoint may take to begin HTTP/2 on a new connection.
	settingsTime = 3 * time.Second
	// idleUpstream closes connections to endpoints without streams. It may be longer than HTTP/1.1's, since
	// a server that closes says so in time (GOAWAY).
	idleUpstream = time.Minute
)
