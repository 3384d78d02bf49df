package bench

import (
	"math"
	"math/rand/v2"
)

// still are the conditions where nothing changes.
var still = Conditions{Traffic: 1, Canary: 1, Stable: 1}

// horizon is up to when conditions are made, in seconds: beyond the longest release.
const horizon = 4 * 3600.

// shocks are outages of something that both revisions depend on.
func shocks(random *rand.Rand) Climate {
	var begins []float64
	for at := 300 * random.ExpFloat64(); at < horizon; at += 30 + 300*random.ExpFloat64() {
		begins = append(begins, at)
	}
	return func(now, _ float64) Conditions {
		for _, begin := range begins {
			if now >= begin && now < begin+30 {
				return Conditions{Traffic: 1, Canary: 10, Stable: 10}
			}
		}
		return still
	}
}

// wave is traffic and errors that rise and fall once in 25 minutes, from a random point on.
func wave(random *rand.Rand) Climate {
	phase := 2 * math.Pi * random.Float64()
	return func(now, _ float64) Conditions {
		s := math.Sin(phase + 2*math.Pi*now/1500)
		return Conditions{Traffic: 1 + .8*s, Canary: 1 + .5*s, Stable: 1 + .5*s}
	}
}

// burstyPod is one stable pod of nine whose errors come in bursts: for each half minute its share of
// failures is the service's times an exponential number raised to give a coefficient of variation of about
// 4, divided by its mean.
func burstyPod(random *rand.Rand) Climate {
	factors := make([]float64, int(horizon/30)+1)
	for i := range factors {
		e := random.ExpFloat64()
		factors[i] = e * e * e / 6 // E[e^3] = 6
	}
	return func(now, _ float64) Conditions {
		i := min(int(now/30), len(factors)-1)
		return Conditions{Traffic: 1, Canary: 1, Stable: (8 + factors[i]) / 9}
	}
}

// coldStart is a canary whose fresh pods fail more.
func coldStart(*rand.Rand) Climate {
	return func(_, age float64) Conditions {
		if age < 45 {
			return Conditions{Traffic: 1, Canary: 10, Stable: 1}
		}
		return still
	}
}

const (
	// StablePods is how many pods stable has where pods differ.
	StablePods = 9
	// PodSpread is the standard deviation of the logarithm of their shares of failures.
	PodSpread = .3
)

// pods are the factors of so many pods.
func pods(random *rand.Rand, n int) []float64 {
	factors := make([]float64, n)
	for i := range factors {
		factors[i] = math.Exp(PodSpread * random.NormFloat64())
	}
	return factors
}

func mean(values []float64) float64 {
	sum := 0.
	for _, value := range values {
		sum += value
	}
	return sum / float64(len(values))
}
