package irtest

import (
	"math/rand/v2"
	"time"

	"github.com/sluice-mesh/sluice/mesh/ir"
)

// CA is a certificate that signed itself, in PEM. Nobody has its key.
const CA = `-----BEGIN CERTIFICATE-----
MIIBeDCCAR+gAwIBAgIUQj/ZyxbxHa/BMuLDSxj8Lict94cwCgYIKoZIzj0EAwIw
ETEPMA0GA1UEAwwGaXJ0ZXN0MCAXDTI2MTEyMTE5MjEzMloYDzIxMjYxMDI4MTky
MTMyWjARMQ8wDQYDVQQDDAZpcnRlc3QwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNC
AAR6UhF8qlfL8yNLgiYwPJQxzmnsH9neeKRC91Y3NMEKfcz5iNGAVXydVJErfVOC
0gZta/Pu4Jdbaa8DRkk0RbA2o1MwUTAdBgNVHQ4EFgQUEcTGBolNoCCGKgQx+apn
Pa/7SOkwHwYDVR0jBBgwFoAUEcTGBolNoCCGKgQx+apnPa/7SOkwDwYDVR0TAQH/
BAUwAwEB/zAKBggqhkjOPQQDAgNHADBEAiAPrgExnyKmf07Z4C2h8NhMRiX/2VhZ
/y8DB0vJVmikHQIgKrRqP+iC3l3dZqhke8K5QF44AdetnCnZtaUPe8Xx44Y=
-----END CERTIFICATE-----
`

func policy(random *rand.Rand) ir.Policy {
	if random.IntN(3) == 0 {
		return ir.Policy{}
	}
	made := ir.Policy{
		Balance: ir.Balance{
			Balancer:  pick(random, ir.LeastRequest, ir.RoundRobin, ir.Random, ir.RingHash),
			SlowStart: duration(random),
			AnyZone:   random.IntN(2) == 0,
			Panic:     uint32(random.IntN(101)),
		},
		Limits: ir.Limits{
			MaxConnections: uint32(random.IntN(3)), MaxPending: uint32(random.IntN(3)), MaxRequests: uint32(random.IntN(3)),
		},
	}
	if made.Balance.Balancer == ir.RingHash {
		made.Balance.HashOn = pick(random,
			ir.HashOn{Header: "x-user"}, ir.HashOn{Source: true},
			ir.HashOn{Cookie: "Id"}, ir.HashOn{Cookie: "Id", CookieTTL: time.Hour})
	}
	if random.IntN(3) == 0 {
		made.Sticky = &ir.Sticky{Cookie: "release", TTL: duration(random)}
	}
	if random.IntN(2) == 0 {
		made.Timeouts = timeouts(random)
	}
	if random.IntN(2) == 0 {
		made.Retry = retry(random)
	}
	if random.IntN(2) == 0 {
		made.Outlier = &ir.Outlier{Consecutive: uint32(random.IntN(9)), Ejection: duration(random), MaxPercent: uint32(random.IntN(101))}
	}
	if random.IntN(4) == 0 {
		made.RateLimit = rateLimit(random)
	}
	if random.IntN(4) == 0 {
		made.TLS = pick(random,
			&ir.UpstreamTLS{ServerName: "cart.shop", CA: CA},
			&ir.UpstreamTLS{ServerName: "cart.shop"},
			&ir.UpstreamTLS{Insecure: true})
	}
	return made
}

func timeouts(random *rand.Rand) ir.Timeouts {
	return ir.Timeouts{Request: duration(random), PerTry: duration(random), Idle: duration(random), Connect: duration(random)}
}

func retry(random *rand.Rand) *ir.Retry {
	made := &ir.Retry{
		Attempts: uint32(random.IntN(4)),
		On:       []ir.RetryOn{pick(random, ir.OnConnectFailure, ir.OnReset, ir.OnTimeout)},
		BackOff:  duration(random),

		Budget: uint32(random.IntN(101)), BudgetMin: uint32(random.IntN(9)),
		NonIdempotent: random.IntN(2) == 0,
	}
	made.On = append(made.On, pick(random, ir.On5xx, ir.OnGatewayError))
	if random.IntN(2) == 0 {
		made.On = append(made.On, ir.OnStatus)
		made.Statuses = []int{409, 429}
	}
	if random.IntN(2) == 0 {
		made.On = append(made.On, ir.OnGRPC)
		made.GRPCStatuses = []int{14, 1 + random.IntN(16)}
	}
	if random.IntN(2) == 0 {
		made.MaxBackOff = max(made.BackOff, time.Second)
	}
	return made
}

func rateLimit(random *rand.Rand) *ir.RateLimit {
	return &ir.RateLimit{
		Requests: 1 + random.Uint32N(1000),
		Per:      pick(random, time.Millisecond, time.Second, time.Hour),
		Burst:    random.Uint32N(3),
	}
}

func settings(random *rand.Rand) ir.Settings {
	return ir.Settings{
		AccessLog: ir.AccessLog{Share: share(random), Errors: random.IntN(2) == 0, Slow: duration(random)},
		Tracing: ir.Tracing{
			Endpoint:    pick(random, "", "http://collector.monitoring:4318/v1/traces"),
			Format:      pick(random, ir.OTLP, ir.Zipkin),
			Share:       share(random),
			Propagation: pick(random, ir.W3C, ir.B3),
		},
	}
}
