package xds

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
	"time"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	previousv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/retry/host/previous_hosts/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/sluice-mesh/sluice/mesh/ir"
)

const (
	// untouched are Envoy's conditions that certainly nobody has begun to process the request.
	untouched = "connect-failure,refused-stream,reset-before-request"
	// untouchedTries is how often such a request is repeated where no policy says otherwise.
	untouchedTries = 2
	// idempotent methods (RFC 9110, 9.2.2).
	idempotent = "GET|HEAD|OPTIONS|TRACE|PUT|DELETE"
	// firstBackOff is Retry's default.
	firstBackOff = 25 * time.Millisecond

	previousHosts = "envoy.retry_host_predicates.previous_hosts"
	// hostAttempts is how often Envoy looks for an endpoint that has not been tried.
	hostAttempts = 3
)

// conditions as Envoy calls them. A per-try timeout counts as a reset there.
var conditions = map[ir.RetryOn]string{
	ir.OnConnectFailure: "connect-failure",
	ir.OnReset:          "reset",
	ir.OnTimeout:        "reset",
	ir.On5xx:            "5xx",
	ir.OnGatewayError:   "gateway-error",
	ir.OnStatus:         "retriable-status-codes",
}

// grpcConditions are the gRPC statuses that Envoy and gRPC have conditions for. Envoy finds others in the
// response's headers.
var grpcConditions = map[int]string{
	1: "cancelled", 4: "deadline-exceeded", 8: "resource-exhausted", 13: "internal", 14: "unavailable",
}

// retryPolicy repeats what nobody has begun to process and what the policy names. Envoy has one number for
// both, and cannot tell them apart by method: where only idempotent requests may be repeated, others are not
// repeated at all, and a condition on gRPC's status, all of whose requests are POST, is left out. gRPC's
// clients repeat by its statuses only.
func retryPolicy(retry *ir.Retry, perTry time.Duration) *routev3.RetryPolicy {
	made := &routev3.RetryPolicy{
		RetryOn:    untouched,
		NumRetries: wrapperspb.UInt32(untouchedTries),
		RetryHostPredicate: []*routev3.RetryPolicy_RetryHostPredicate{{
			Name:       previousHosts,
			ConfigType: &routev3.RetryPolicy_RetryHostPredicate_TypedConfig{TypedConfig: pack(&previousv3.PreviousHostsPredicate{})},
		}},
		HostSelectionRetryMaxAttempts: hostAttempts,
	}
	if perTry > 0 {
		made.PerTryTimeout = duration(perTry)
	}
	if retry == nil || retry.Attempts == 0 {
		return made
	}
	on := strings.Split(untouched, ",")
	for _, condition := range retry.On {
		if name := conditions[condition]; name != "" {
			on = append(on, name)
		}
	}
	for _, status := range retry.Statuses {
		made.RetriableStatusCodes = append(made.RetriableStatusCodes, uint32(status))
	}
	if retry.NonIdempotent {
		for _, status := range retry.GRPCStatuses {
			if name := grpcConditions[status]; name != "" {
				on = append(on, name)
				continue
			}
			on = append(on, "retriable-headers")
			made.RetriableHeaders = append(made.RetriableHeaders,
				header("grpc-status", ir.ValueMatch{Kind: ir.Exact, Value: strconv.Itoa(status)}))
		}
	} else {
		made.RetriableRequestHeaders = []*routev3.HeaderMatcher{header(":method", ir.ValueMatch{Kind: ir.Regex, Value: idempotent})}
	}
	slices.Sort(on)
	made.RetryOn = strings.Join(slices.Compact(on), ",")
	made.NumRetries = wrapperspb.UInt32(retry.Attempts)
	if retry.BackOff > 0 || retry.MaxBackOff > 0 {
		made.RetryBackOff = &routev3.RetryPolicy_RetryBackOff{BaseInterval: duration(cmp.Or(retry.BackOff, firstBackOff))}
		if retry.MaxBackOff > 0 {
			made.RetryBackOff.MaxInterval = duration(retry.MaxBackOff)
		}
	}
	return made
}
