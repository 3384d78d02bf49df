package h2

import (
	"slices"
	"time"
)

// lookTime is how often a pool's links are looked after.
const lookTime = time.Second

// withdraw takes a link from those that take streams.
func (p *pool) withdraw(u *upstream) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.links = slices.DeleteFunc(p.links, func(x *upstream) bool { return x == u })
}

// enlist starts looking after a link; false: the pool is closed.
func (p *pool) enlist(u *upstream) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return false
	}
	p.all = append(p.all, u)
	p.arm()
	return true
}

func (p *pool) delist(u *upstream) {
	p.mu.Lock()
	p.all = slices.DeleteFunc(p.all, func(x *upstream) bool { return x == u })
	p.release()
	idle := len(p.all) == 0 && len(p.waiting) == 0
	if idle && p.timer != nil {
		p.timer.Stop()
		p.timer = nil
	}
	p.mu.Unlock()
	if !idle {
		var b batch
		p.serve(&b, nil) // there may be another link now
		b.flush()
	}
}

// arm has the pool looked after from time to time, while it has links or streams wait; mu is held.
func (p *pool) arm() {
	if p.timer == nil {
		p.timer = time.AfterFunc(lookTime, p.look)
	}
}

func (p *pool) look() {
	p.mu.Lock()
	all := slices.Clone(p.all)
	p.timer = nil
	if len(all) > 0 || len(p.waiting) > 0 {
		p.arm()
	}
	p.mu.Unlock()
	for _, u := range all {
		u.tick(lookTime)
	}
	var b batch
	p.serve(&b, nil) // connections of another protocol count for the same limit, and tell nobody when they end
	b.flush()
}

// Retire implements table.Pool.
func (p *pool) Retire() {
	p.retired.Store(true)
	p.mu.Lock()
	all := slices.Clone(p.all)
	p.mu.Unlock()
	var b batch
	for _, u := range all {
		u.mu.Lock()
		if len(u.legs) == 0 {
			u.shut(&b, 0, codeNo, "")
		}
		u.mu.Unlock()
	}
	b.flush()
}

// close ends all links, and returns when they have ended.
func (p *pool) close() {
	p.mu.Lock()
	p.closed = true
	if p.cancel != nil {
		p.cancel()
	}
	all := slices.Clone(p.all)
	p.mu.Unlock()
	for _, u := range all {
		u.mu.Lock()
		u.abort()
		u.mu.Unlock()
	}
	p.running.Wait()
}

// used begins anew what unused counts.
func (p *pool) used() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.unusedTicks = 0
}

// unused reports whether nobody has needed the pool for a while; it is asked at every tick.
func (p *pool) unused() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.all) > 0 || p.dialing || len(p.waiting) > 0 {
		p.unusedTicks = 0
	}
	p.unusedTicks++
	return p.unusedTicks > int(time.Minute/tick)
}
