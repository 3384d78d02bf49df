package irtest

import (
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/sluice-mesh/sluice/mesh/ir"
)

// The words that routes are made of are few, so that random requests made of the same match now and then.
var (
	Hosts   = []string{"cart.shop", "a.example.com", "b.a.example.com", "*.example.com", "*.a.example.com"}
	Paths   = []string{"/", "/a", "/a/b", "/ab", "/b"}
	Regexes = []string{"/[ab]+", "/a(/.*)?", "/.*b"}
	Methods = []string{"GET", "POST"}
	Names   = []string{"x-a", "x-b"}
	Values  = []string{"1", "12", "v 1%", "b"}
)

// routes returns some for a service whose mesh has these others.
func routes(random *rand.Rand, service ir.Service, others []ir.Service) []ir.Route {
	var made []ir.Route
	for i := range random.IntN(4) {
		route := ir.Route{Name: fmt.Sprintf("HTTPRoute/%s/%s/%d", service.Namespace, service.Name, i)}
		for _, port := range service.Ports {
			if random.IntN(4) == 0 {
				route.Ports = append(route.Ports, port.Number)
			}
		}
		prefixes := random.IntN(2) == 0
		for range random.IntN(3) {
			route.Matches = append(route.Matches, match(random, prefixes))
		}
		if random.IntN(8) == 0 {
			route.Redirect = &ir.Redirect{
				Scheme: pick(random, "", "https"),
				Host:   pick(random, "", "other.example.com"),
				Port:   pick(random, uint16(0), 8443),
				Path:   path(random, prefixes),
				Status: pick(random, 301, 302, 303, 307, 308),
			}
		} else {
			for range random.IntN(4) {
				route.Backends = append(route.Backends, backend(random, service, others))
			}
			if random.IntN(4) == 0 {
				route.Rewrite = &ir.Rewrite{Host: pick(random, "", "inner.example.com"), Path: path(random, prefixes)}
			}
		}
		route.Revision = pick(random, ir.AnyRevision, ir.AnyRevision, ir.StableRevision, ir.CanaryRevision)
		route.RequestHeaders, route.ResponseHeaders = changes(random), changes(random)
		if random.IntN(4) == 0 {
			to := backend(random, service, others)
			route.Mirrors = append(route.Mirrors, ir.Mirror{Service: to.Service, Port: to.Port, Share: share(random)})
		}
		if random.IntN(4) == 0 {
			route.Fault = &ir.Fault{
				Delay: 1 + duration(random), DelayShare: share(random),
				AbortStatus: pick(random, 400, 503), AbortGRPC: random.IntN(17), AbortShare: share(random),
			}
		}
		if random.IntN(4) == 0 {
			route.RateLimit = rateLimit(random)
		}
		if random.IntN(3) == 0 {
			route.Timeouts = timeouts(random)
		}
		if random.IntN(3) == 0 {
			route.Retry = retry(random)
		}
		made = append(made, route)
	}
	return made
}

func match(random *rand.Rand, prefix bool) ir.Match {
	var made ir.Match
	for range random.IntN(3) {
		made.Hosts = append(made.Hosts, pick(random, Hosts...))
	}
	switch kind := random.IntN(4); {
	case kind == 0:
	case kind == 1 && !prefix:
		made.Path = ir.PathMatch{Kind: ir.Exact, Value: pick(random, Paths...)}
	case kind == 2 && !prefix:
		made.Path = ir.PathMatch{Kind: ir.Regex, Value: pick(random, Regexes...)}
	default:
		made.Path = ir.PathMatch{Kind: ir.Prefix, Value: pick(random, Paths...) + pick(random, "", "/")}
	}
	if random.IntN(4) == 0 {
		made.Method = pick(random, Methods...)
	}
	made.Headers, made.Query, made.Cookies = values(random), values(random), values(random)
	return made
}

func values(random *rand.Rand) []ir.ValueMatch {
	var made []ir.ValueMatch
	for range max(0, random.IntN(5)-2) {
		value := ir.ValueMatch{Name: pick(random, Names...), Kind: pick(random, ir.Exact, ir.Prefix, ir.Regex, ir.Present), Not: random.IntN(4) == 0}
		switch value.Kind {
		case ir.Exact:
			value.Value = pick(random, Values...)
		case ir.Prefix:
			value.Value = pick(random, "1", "v", "")
		case ir.Regex:
			value.Value = pick(random, "1.", "[a-z].*", "1|12")
		}
		made = append(made, value)
	}
	return made
}

func path(random *rand.Rand, prefixes bool) ir.Path {
	switch kind := random.IntN(3); {
	case kind == 0:
		return ir.Path{}
	case kind == 1 && prefixes:
		return ir.Path{Prefix: pick(random, "", "/", "/new", "/new/"), ReplacePrefix: true}
	default:
		return ir.Path{Full: `/whole\1`}
	}
}

// backend is one of the mesh most times.
func backend(random *rand.Rand, service ir.Service, others []ir.Service) ir.Backend {
	made := ir.Backend{Service: "gone/gone", Port: 80, Weight: pick(random, uint32(0), 1, 1, 3, 1_000_000)}
	if random.IntN(6) > 0 {
		to := pick(random, append([]ir.Service{service}, others...)...)
		made.Service, made.Port = to.Key(), pick(random, to.Ports...).Number
	}
	if random.IntN(3) == 0 {
		made.RequestHeaders, made.ResponseHeaders = changes(random), changes(random)
	}
	return made
}

func changes(random *rand.Rand) ir.HeaderChanges {
	var made ir.HeaderChanges
	for _, name := range Names {
		switch random.IntN(8) {
		case 0:
			made.Set = append(made.Set, ir.Header{Name: name, Value: pick(random, Values...)})
		case 1:
			made.Add = append(made.Add, ir.Header{Name: name, Value: pick(random, Values...)}, ir.Header{Name: name, Value: ""})
		case 2:
			made.Remove = append(made.Remove, name)
		}
	}
	return made
}

func share(random *rand.Rand) uint32 {
	return pick(random, 0, uint32(random.IntN(ir.Million+1)), ir.Million)
}

// duration is above zero half of the time.
func duration(random *rand.Rand) time.Duration {
	return pick(random, 0, time.Duration(random.Int64N(int64(time.Hour))))
}
