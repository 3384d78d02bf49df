package ir_test

import (
	"strings"
	"testing"
	"time"

	"github.com/sluice-mesh/sluice/mesh/ir"
	"github.com/sluice-mesh/sluice/mesh/ir/irtest"
)

func TestValidateNamesWhatIsWrongWithAPolicy(t *testing.T) {
	balance := func(b ir.Balance) ir.Policy { return ir.Policy{Balance: b} }
	ring := func(h ir.HashOn) ir.Policy { return balance(ir.Balance{Balancer: ir.RingHash, HashOn: h}) }
	retry := func(r ir.Retry) ir.Policy {
		r.Attempts = 1
		if r.On == nil {
			r.On = []ir.RetryOn{ir.On5xx}
		}
		return ir.Policy{Retry: &r}
	}
	tls := func(t ir.UpstreamTLS) ir.Policy { return ir.Policy{TLS: &t} }
	cases := map[string]struct {
		policy ir.Policy
		want   string // "": it is valid
	}{
		"nothing":                  {ir.Policy{}, ""},
		"balancer":                 {balance(ir.Balance{Balancer: "best"}), `balance: unknown balancer "best"`},
		"hash on a header":         {ring(ir.HashOn{Header: "x-user"}), ""},
		"hash on nothing":          {ring(ir.HashOn{}), "needs one of header, cookie and source, not 0"},
		"hash on two":              {ring(ir.HashOn{Header: "x-user", Source: true}), "not 2"},
		"hash without a ring":      {balance(ir.Balance{HashOn: ir.HashOn{Source: true}}), "only a ring hash"},
		"hash on a bad header":     {ring(ir.HashOn{Header: "X User"}), `hash on header "X User"`},
		"hash on a bad cookie":     {ring(ir.HashOn{Cookie: "a;b"}), `hash on cookie "a;b"`},
		"TTL without a cookie":     {ring(ir.HashOn{Source: true, CookieTTL: 1}), "a TTL without a cookie"},
		"slow start":               {balance(ir.Balance{SlowStart: -1}), "slow start is negative"},
		"panic":                    {balance(ir.Balance{Panic: 101}), "panic of 101 is above 100"},
		"sticky":                   {ir.Policy{Sticky: &ir.Sticky{}}, `sticky: "" is not a cookie's name`},
		"sticky's TTL":             {ir.Policy{Sticky: &ir.Sticky{Cookie: "c", TTL: -1}}, "sticky: TTL is negative"},
		"timeouts":                 {ir.Policy{Timeouts: ir.Timeouts{Connect: -1}}, "timeouts: connect is negative"},
		"retry":                    {retry(ir.Retry{Budget: 100}), ""},
		"retry's condition":        {retry(ir.Retry{On: []ir.RetryOn{"always"}}), `unknown condition "always"`},
		"retry without a status":   {retry(ir.Retry{On: []ir.RetryOn{ir.OnStatus}}), "names no status"},
		"retry on no gRPC status":  {retry(ir.Retry{On: []ir.RetryOn{ir.OnGRPC}}), "names no gRPC status"},
		"retry on a status":        {retry(ir.Retry{Statuses: []int{600}}), "status 600"},
		"retry on success of gRPC": {retry(ir.Retry{GRPCStatuses: []int{0}}), "gRPC status 0"},
		"retry's back-off":         {retry(ir.Retry{BackOff: time.Second, MaxBackOff: time.Millisecond}), "max back-off of 1ms is below the first, 1s"},
		"retry's default back-off": {retry(ir.Retry{MaxBackOff: time.Millisecond}), "below the first, 25ms"},
		"retry's budget":           {retry(ir.Retry{Budget: 101}), "budget of 101"},
		"outlier's share":          {ir.Policy{Outlier: &ir.Outlier{MaxPercent: 101}}, "outlier: max percent of 101"},
		"outlier's time":           {ir.Policy{Outlier: &ir.Outlier{Ejection: -1}}, "outlier: ejection is negative"},
		"rate limit":               {ir.Policy{RateLimit: &ir.RateLimit{Per: time.Second}}, "rate limit: 0 requests"},
		"TLS":                      {tls(ir.UpstreamTLS{ServerName: "cart.shop", CA: irtest.CA + irtest.CA}), ""},
		"TLS with any certificate": {tls(ir.UpstreamTLS{Insecure: true}), ""},
		"TLS without a name":       {tls(ir.UpstreamTLS{}), `TLS: server name "" is not one`},
		"TLS with a bad name":      {tls(ir.UpstreamTLS{ServerName: "a_b"}), `server name "a_b"`},
		"CA is text":               {tls(ir.UpstreamTLS{ServerName: "a", CA: "x"}), "CA: has no certificate in PEM"},
		"CA is broken":             {tls(ir.UpstreamTLS{ServerName: "a", CA: "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"}), "CA: parse certificate 0"},
		"CA has a key":             {tls(ir.UpstreamTLS{ServerName: "a", CA: irtest.CA + "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"}), `CA: has a "PRIVATE KEY"`},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			service := cart()
			service.Policy = c.policy
			err := ir.Validate(ir.Mesh{Services: []ir.Service{service}})
			switch {
			case c.want == "" && err != nil:
				t.Errorf("Validate: %v", err)
			case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "service shop/cart: policy: ")):
				t.Errorf("Validate: %v\nwant it to name the service, the policy and %q", err, c.want)
			}
		})
	}
}

func TestValidateNamesWhatIsWrongWithSettings(t *testing.T) {
	good := ir.Settings{
		AccessLog: ir.AccessLog{Share: ir.Million, Slow: time.Second},
		Tracing:   ir.Tracing{Endpoint: "http://collector:4318/v1/traces", Format: ir.Zipkin, Share: 1, Propagation: ir.B3},
	}
	if err := good.Validate(); err != nil {
		t.Fatal(err)
	}
	for want, spoil := range map[string]func(*ir.Settings){
		"access log: share of 1000001":   func(s *ir.Settings) { s.AccessLog.Share = ir.Million + 1 },
		"access log: slow is negative":   func(s *ir.Settings) { s.AccessLog.Slow = -1 },
		"tracing: share of 1000001":      func(s *ir.Settings) { s.Tracing.Share = ir.Million + 1 },
		`endpoint "collector:4318"`:      func(s *ir.Settings) { s.Tracing.Endpoint = "collector:4318" },
		`endpoint "http://:4318"`:        func(s *ir.Settings) { s.Tracing.Endpoint = "http://:4318" },
		`tracing: unknown format "x"`:    func(s *ir.Settings) { s.Tracing.Format = "x" },
		`tracing: unknown propagation "`: func(s *ir.Settings) { s.Tracing.Propagation = "x" },
	} {
		settings := good
		spoil(&settings)
		err := ir.Validate(ir.Mesh{Settings: settings})
		if err == nil || !strings.Contains(err.Error(), "settings: ") || !strings.Contains(err.Error(), want) {
			t.Errorf("Validate: %v, want it to say %q", err, want)
		}
	}
	off := good
	off.Tracing.Endpoint = ""
	if got := off.Normalise(); got.Tracing != (ir.Tracing{}) || got.AccessLog != good.AccessLog {
		t.Errorf("without a collector: %+v", got)
	}
}
