package h1

import "sync"

const (
	// smallBuffer takes the head of most requests; a request in flight holds one.
	smallBuffer = 4 << 10
	// largeBuffer takes the response of most requests, or a piece of a body. It is held only while there is
	// something in it.
	largeBuffer = 32 << 10
	// headroom before a response lets its changed head be put in front of its body, for one write of both.
	headroom = 512
)

// buffer is lent for as long as there is something in it.
type buffer struct{ b []byte }

var (
	smallBuffers = sync.Pool{New: func() any { return &buffer{make([]byte, smallBuffer)} }}
	largeBuffers = sync.Pool{New: func() any { return &buffer{make([]byte, largeBuffer)} }}
)

// borrow returns a buffer of at least so many bytes.
func borrow(size int) *buffer {
	switch {
	case size <= smallBuffer:
		return smallBuffers.Get().(*buffer)
	case size <= largeBuffer:
		return largeBuffers.Get().(*buffer)
	default:
		return &buffer{make([]byte, size)}
	}
}

// release gives the buffer back; nobody may look at it any more. A nil buffer has nothing to give.
func (b *buffer) release() {
	switch {
	case b == nil:
	case len(b.b) == smallBuffer:
		smallBuffers.Put(b)
	case len(b.b) == largeBuffer:
		largeBuffers.Put(b)
	}
}
