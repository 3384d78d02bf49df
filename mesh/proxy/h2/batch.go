package h2

// batch collects the links whose buffers got something, so that each is written once in the end.
type batch struct {
	links []*link
	pools []*pool // where streams wait and one has ended
}

// flush writes them. Writing may make room in a link, and what then moves on may be for others.
// No stream's lock may be held.
func (b *batch) flush() {
	for len(b.links) > 0 || len(b.pools) > 0 {
		for i := 0; i < len(b.pools); i++ {
			b.pools[i].serve(b, nil)
		}
		b.pools = b.pools[:0]
		for i := 0; i < len(b.links); i++ {
			b.links[i].flush(b)
		}
		clear(b.links)
		b.links = b.links[:0]
	}
}
