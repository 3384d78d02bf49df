package prometheus

// plain reads a sample as servers write those of counters: [seconds.milliseconds,"digits"]. Where it is
// written otherwise nothing is consumed.
func (s *scanner) plain() (x sample, ok bool) {
	data, at := s.data[s.at:], 0
	number := func() int64 {
		value, start := int64(0), at
		for ; at < len(data) && data[at]-'0' <= 9; at++ {
			value = value*10 + int64(data[at]-'0')
		}
		if at == start || at-start > 15 {
			return -1
		}
		return value
	}
	next := func(c byte) bool {
		at++
		return at <= len(data) && data[at-1] == c
	}
	if !next('[') {
		return x, false
	}
	x.at = number() * 1000
	if x.at >= 0 && at < len(data) && data[at] == '.' {
		at++
		point := at
		fraction := number()
		for range 3 - min(at-point, 3) {
			fraction *= 10
		}
		if at-point > 3 || fraction < 0 {
			return x, false
		}
		x.at += fraction
	}
	if x.at < 0 || !next(',') || !next('"') {
		return x, false
	}
	value := number()
	if value < 0 || !next('"') || !next(']') {
		return x, false
	}
	x.value = float64(value)
	s.at += at
	return x, true
}

// samples reads [[time, "value"], ...].
func (s *scanner) samples(a *answer) bool {
	return s.array(func() bool {
		if x, ok := s.plain(); ok {
			a.samples = append(a.samples, x)
			return true
		}
		if !s.take('[') {
			return false
		}
		at, ok := s.millis()
		if !ok || !s.take(',') {
			return false
		}
		value, ok := s.float()
		a.samples = append(a.samples, sample{at, value})
		return ok && s.take(']')
	})
}

// histograms reads [[time, {"count": "n", "sum": "n", "buckets": [...]}], ...].
func (s *scanner) histograms(a *answer) bool {
	return s.array(func() bool {
		if !s.take('[') {
			return false
		}
		at, ok := s.millis()
		if !ok || !s.take(',') {
			return false
		}
		h := histogram{at: at, from: len(a.buckets)}
		ok = s.object(func(key []byte) (ok bool) {
			switch string(key) {
			case "count":
				h.count, ok = s.float()
			case "sum":
				h.sum, ok = s.float()
			case "buckets":
				ok = s.buckets(a)
			default:
				ok = s.skip(0)
			}
			return ok
		})
		h.to = len(a.buckets)
		a.histograms = append(a.histograms, h)
		return ok && s.take(']')
	})
}

// buckets reads [[closed, "lower", "upper", "count"], ...].
func (s *scanner) buckets(a *answer) bool {
	return s.array(func() bool {
		if !s.take('[') {
			return false
		}
		s.space()
		closed, digits := s.digits()
		if digits != 1 || !s.take(',') {
			return false
		}
		b := bucket{closed: int(closed)}
		for i, into := range []*float64{&b.lower, &b.upper, &b.count} {
			value, ok := s.float()
			if !ok || i < 2 && !s.take(',') {
				return false
			}
			*into = value
		}
		a.buckets = append(a.buckets, b)
		return s.take(']')
	})
}
