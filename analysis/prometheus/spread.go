package prometheus

import (
	"context"
	"fmt"
	"math"
	"strconv"

	"gonum.org/v1/gonum/stat/distuv"

	"github.com/sluice-mesh/sluice/analysis"
)

// PodSpread estimates from the hour before Release.Since by how much the error rates of stable's pods
// differ beyond chance: the standard deviation of their logarithms, 0 when it could well be chance, and the
// number of pods that it comes from.
//
// The counts are those that the pods' own proxies report, since a source does not tell pods apart.
func (s *Sampler) PodSpread(ctx context.Context, release analysis.Release) (spread float64, pods int, err error) {
	if err := refuse(release); err != nil {
		return 0, 0, err
	}
	ctx, cancel := context.WithTimeout(ctx, s.options.Timeout)
	defer cancel()
	series := fmt.Sprintf(`%s{reporter="destination",namespace=%s,service=%s,revision=%s}`,
		totalName, strconv.Quote(release.Namespace), strconv.Quote(release.Service), strconv.Quote(veteranOf(release)))
	// Not increase(): a code's series begins with its first failures, which that leaves out.
	last, first := fmt.Sprintf("last_over_time(%s[1h])", series), fmt.Sprintf("last_over_time(%s[2m] offset 1h)", series)
	vector, err := s.instant(ctx, fmt.Sprintf("sum by (pod,instance,code,grpc_status) (%s - (%s or 0*%s))", last, first, last), release.Since)
	if err != nil {
		return 0, 0, err
	}
	counts := map[string]*podCount{}
	for _, v := range vector {
		pod := string(v.Metric["pod"])
		if pod == "" {
			pod = string(v.Metric["instance"])
		}
		how, err := outcomeOf(string(v.Metric["code"]), string(v.Metric["grpc_status"]))
		n := float64(v.Value)
		if err != nil || math.IsNaN(n) || math.IsInf(n, 0) {
			return 0, 0, doubtf("the pods' counts of %s cannot be read", release.Service)
		}
		c := counts[pod]
		if c == nil {
			c = &podCount{}
			counts[pod] = c
		}
		switch c.restarted = c.restarted || n < 0; how {
		case cancelled:
			continue
		case failed:
			c.failed += n
		}
		c.requests += n
	}
	var list []podCount
	for _, c := range counts {
		if c.requests > 0 && !c.restarted {
			list = append(list, *c)
		}
	}
	if !differ(list) {
		return 0, len(list), nil
	}
	return spreadOf(list), len(list), nil
}

const (
	// chanceError is the chance that identical pods are taken to differ. With few pods the widening that
	// follows is large, so it must not come from noise: of two pods with three failures each, every other
	// pair would have a spread that hides a canary with three times the errors.
	chanceError = 1e-3
	// leastExpected failures at each pod make chi-squared a good approximation (Cochran, Biometrics 10, 1954).
	leastExpected = 5
)

// differ tells by Pearson's test of homogeneity whether the pods' failures differ by more than chance.
func differ(pods []podCount) bool {
	requests, failures := 0., 0.
	for _, p := range pods {
		requests, failures = requests+p.requests, failures+p.failed
	}
	if len(pods) < 2 || !(failures > 0) {
		return false
	}
	squares := 0.
	for _, p := range pods {
		expected := failures * p.requests / requests
		if !(expected >= leastExpected) {
			return false
		}
		served := p.requests - expected
		squares += (p.failed - expected) * (p.failed - expected) * (1/expected + 1/max(served, leastExpected))
	}
	return distuv.ChiSquared{K: float64(len(pods) - 1)}.Survival(squares) <= chanceError
}

// podCount is what one pod answered; one that restarted in between says too little.
type podCount struct {
	requests, failed float64
	restarted        bool
}

// spreadOf estimates tau, the standard deviation of the logarithms of the pods' error rates, by moments:
// errors at pod i, of n_i requests, are Poisson with mean mu_i U_i, mu_i = p n_i, where U_i is log-normal
// with mean 1, so that
//
//	Var(errors_i) = mu_i + c mu_i^2,   c = exp(tau^2) - 1.
//
// With p estimated from the same pods, E[(errors_i - mu_i)^2] loses the share w_i = n_i/n of the first
// term, and (1 - w_i)^2 + sum over j != i of w_i^2 (n_j/n_i)^2 takes the place of 1 in the second. The
// estimate is never below 0.
func spreadOf(pods []podCount) float64 {
	requests, errors, squares := 0., 0., 0.
	for _, p := range pods {
		requests += p.requests
		errors += p.failed
		squares += p.requests * p.requests
	}
	if len(pods) < 2 || !(errors > 0) {
		return 0
	}
	excess, scale := 0., 0.
	for _, p := range pods {
		mu, w := errors*p.requests/requests, p.requests/requests
		excess += (p.failed-mu)*(p.failed-mu) - mu*(1-w)
		others := (squares - p.requests*p.requests) / (requests * requests)
		scale += mu*mu*(1-w)*(1-w) + mu*mu*others
	}
	if c := excess / scale; c > 0 && !math.IsInf(c, 0) {
		return math.Sqrt(math.Log1p(c))
	}
	return 0
}
