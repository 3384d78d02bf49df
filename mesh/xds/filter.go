package xds

import (
	"cmp"
	"math"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	commonfaultv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/common/fault/v3"
	faultv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/fault/v3"
	ratelimitv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/local_ratelimit/v3"
	routerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/sluice-mesh/sluice/mesh/ir"
)

// The names that Envoy gives its filters. Clients go by the type of the configuration.
const (
	faultFilter     = "envoy.filters.http.fault"
	rateLimitFilter = "envoy.filters.http.local_ratelimit"
	routerFilter    = "envoy.filters.http.router"
)

// grpcFilters are those that gRPC knows: it rejects a listener with any other. Faults are configured per
// route.
func grpcFilters() []*hcmv3.HttpFilter {
	return []*hcmv3.HttpFilter{filter(faultFilter, &faultv3.HTTPFault{}), filter(routerFilter, &routerv3.Router{})}
}

// envoyFilters are those for Envoy; all but the router do nothing but what routes ask for.
func envoyFilters() []*hcmv3.HttpFilter {
	return []*hcmv3.HttpFilter{
		filter(faultFilter, &faultv3.HTTPFault{}),
		filter(rateLimitFilter, &ratelimitv3.LocalRateLimit{StatPrefix: rateLimitFilter}),
		filter(routerFilter, &routerv3.Router{}),
	}
}

func filter(name string, config proto.Message) *hcmv3.HttpFilter {
	return &hcmv3.HttpFilter{Name: name, ConfigType: &hcmv3.HttpFilter_TypedConfig{TypedConfig: pack(config)}}
}

// filterConfig is what a route or a virtual host asks of the filters; nil where that is nothing.
//
// Envoy limits rates where requests leave, a bucket for each route of Envoy's at each calling Envoy, and not
// at each pod of the service; a route's limit replaces the service's. gRPC does not limit at all: the filter
// is marked as optional.
func filterConfig(fault *ir.Fault, limit *ir.RateLimit, port ir.Port) map[string]*anypb.Any {
	made := map[string]*anypb.Any{}
	if fault != nil {
		made[faultFilter] = pack(httpFault(*fault, port))
	}
	if limit != nil {
		made[rateLimitFilter] = pack(&routev3.FilterConfig{IsOptional: true, Config: pack(localRateLimit(*limit))})
	}
	if len(made) == 0 {
		return nil
	}
	return made
}

// httpFault aborts calls of gRPC's ports with gRPC's status where there is one, others with HTTP's.
func httpFault(from ir.Fault, port ir.Port) *faultv3.HTTPFault {
	made := &faultv3.HTTPFault{}
	if from.DelayShare > 0 {
		made.Delay = &commonfaultv3.FaultDelay{
			FaultDelaySecifier: &commonfaultv3.FaultDelay_FixedDelay{FixedDelay: duration(from.Delay)},
			Percentage:         fraction(from.DelayShare),
		}
	}
	if from.AbortShare > 0 {
		made.Abort = &faultv3.FaultAbort{Percentage: fraction(from.AbortShare)}
		if from.AbortStatus == 0 || port.Protocol == ir.GRPC && from.AbortGRPC != 0 {
			made.Abort.ErrorType = &faultv3.FaultAbort_GrpcStatus{GrpcStatus: uint32(from.AbortGRPC)}
		} else {
			made.Abort.ErrorType = &faultv3.FaultAbort_HttpStatus{HttpStatus: uint32(from.AbortStatus)}
		}
	}
	return made
}

// shortestFill is the shortest interval that Envoy fills a bucket at.
const shortestFill = 50 * time.Millisecond

// localRateLimit fills the bucket as often as can be, so that the average holds for small bursts too.
func localRateLimit(from ir.RateLimit) *ratelimitv3.LocalRateLimit {
	per, requests := uint64(from.Per), uint64(from.Requests)
	tokens := min((uint64(shortestFill)*requests+per-1)/per, math.MaxUint32)
	always := &corev3.RuntimeFractionalPercent{DefaultValue: &typev3.FractionalPercent{Numerator: 100}}
	return &ratelimitv3.LocalRateLimit{
		StatPrefix: rateLimitFilter,
		TokenBucket: &typev3.TokenBucket{
			MaxTokens:     max(cmp.Or(from.Burst, from.Requests), uint32(tokens)),
			TokensPerFill: wrapperspb.UInt32(uint32(tokens)),
			FillInterval:  duration(max(shortestFill, time.Duration(tokens*per/requests))),
		},
		FilterEnabled:                  always,
		FilterEnforced:                 always,
		RateLimitedAsResourceExhausted: true,
	}
}
