package table

import (
	"cmp"
	"net/http"
	"slices"
	"time"

	"github.com/sluice-mesh/sluice/mesh/ir"
)

const (
	// untouchedTries is how often a request is offered to endpoints that did not begin to process it.
	untouchedTries = 3

	defaultBackOff   = 25 * time.Millisecond
	defaultBudget    = 20
	defaultBudgetMin = 3
)

// Failure describes a try that failed, for Retry to decide on.
type Failure struct {
	// On is what happened. Status and GRPC are the response's, where there is one (GRPC -1: none).
	On           ir.RetryOn
	Status, GRPC int
	// Untouched: certainly nobody has begun to process the request. Such a try is repeated in any case, on
	// another endpoint, up to three in all, without back-off.
	Untouched bool
	// Idempotent: the method may be repeated (RFC 9110, 9.2.2).
	Idempotent bool
}

// Retry decides whether the request is tried again, after how long, and takes it from the budget; Retried
// gives it back when that try is over. Try counts from 1 for the first that failed.
func (p *Plan) Retry(f Failure, try int, random Rand) (wait time.Duration, again bool) {
	if f.Untouched && try < untouchedTries {
		return 0, true
	}
	policy := p.Rule.Retry
	if policy == nil || try > int(policy.Attempts) || !wanted(policy, f) || !p.Port.use.borrow(policy) {
		return 0, false
	}
	p.borrowed++
	return backOff(policy, try, random), true
}

// Retried ends what Retry began when it said again.
func (p *Plan) Retried() {
	if p.borrowed > 0 {
		p.borrowed--
		p.Port.use.repeating.Add(-1)
	}
}

// wanted reports whether one of the policy's conditions holds. What an endpoint may have seen is repeated only
// if that does no harm, or the policy says that it may; who lists gRPC statuses has said so, since all of
// gRPC is POST.
func wanted(policy *ir.Retry, f Failure) bool {
	harmless := f.Idempotent || policy.NonIdempotent || f.Untouched || f.On == ir.OnConnectFailure
	return slices.ContainsFunc(policy.On, func(on ir.RetryOn) bool {
		switch on {
		case ir.OnConnectFailure, ir.OnReset, ir.OnTimeout:
			return harmless && f.On == on
		case ir.On5xx:
			return harmless && f.Status >= 500 && f.Status <= 599
		case ir.OnGatewayError:
			return harmless && f.Status >= http.StatusBadGateway && f.Status <= http.StatusGatewayTimeout
		case ir.OnStatus:
			return harmless && slices.Contains(policy.Statuses, f.Status)
		case ir.OnGRPC:
			return f.GRPC >= 0 && slices.Contains(policy.GRPCStatuses, f.GRPC)
		default:
			return false
		}
	})
}

// backOff is uniform below a bound that doubles with each try ("full jitter").
func backOff(policy *ir.Retry, try int, random Rand) time.Duration {
	first := cmp.Or(policy.BackOff, defaultBackOff)
	most := cmp.Or(policy.MaxBackOff, 10*first)
	bound := min(first<<min(try-1, 10), most)
	return time.Duration(random(uint32(min(bound/time.Microsecond, 1<<31))+1)) * time.Microsecond
}

// borrow takes a repetition from the service's budget.
func (u *usage) borrow(policy *ir.Retry) bool {
	allowed := max(int64(cmp.Or(policy.BudgetMin, defaultBudgetMin)),
		u.inFlight()*int64(cmp.Or(policy.Budget, defaultBudget))/100)
	return enter(&u.repeating, uint32(allowed))
}
