package h2

import (
	"bytes"
	"io"
	"slices"
	"time"

	"github.com/sluice-mesh/sluice/mesh/proxy/engine"
	"github.com/sluice-mesh/sluice/mesh/proxy/table"
)

// mirrorTime bounds what a mirrored request may take.
const mirrorTime = 15 * time.Second

// drawMirrors begins to copy the body where the rule has mirrors.
func (s *stream) drawMirrors() {
	s.copies = len(s.plan.Rule.Mirrors) > 0
	s.sendMirrors()
}

func (s *stream) copyForMirrors(data []byte) {
	if !s.copies {
		return
	}
	if s.copies = len(s.mirrored)+len(data) <= engine.MaxMirrored; !s.copies {
		s.mirrored = nil
		return
	}
	s.mirrored = append(s.mirrored, data...)
	s.sendMirrors()
}

// sendMirrors sends the copies once the request is whole. What they are answered goes nowhere, and what becomes
// of them concerns nobody.
func (s *stream) sendMirrors() {
	if !s.copies || !s.request.done {
		return
	}
	s.copies = false
	s.plan.Mirrored(s.server.Random, func(p *table.Plan) {
		x := &stream{server: s.server, peer: s.peer, head: s.head, fields: slices.Clone(s.fields)}
		x.grpc, x.counted, x.planned = -1, true, true
		x.plan = *p
		x.begun = s.begun
		x.down.closed, x.down.stream = true, x
		x.request = flow{ // which moves what is left of its buffer, so that each copy needs its own
			buf: bytes.Clone(s.mirrored), done: true, keep: true, length: -1, total: int64(len(s.mirrored)),
			trailers: s.request.trailers,
		}
		x.response.length = -1
		if !s.server.mirror(x) {
			return
		}
		go x.later(func(x *stream, b *batch) {
			x.prepare()
			x.deadline = time.AfterFunc(mirrorTime, func() { _ = x.Close() })
			x.attempt(b)
		})
	})
	s.mirrored = nil
}

// mirror enters a copy; false: the server is closing.
func (s *Server) mirror(x *stream) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	s.copies[x] = struct{}{}
	return true
}

// endMirrors ends the copies that are on their way.
func (s *Server) endMirrors() {
	s.mu.Lock()
	var all []io.Closer
	for x := range s.copies {
		all = append(all, x)
	}
	s.mu.Unlock()
	for _, x := range all {
		_ = x.Close()
	}
}
