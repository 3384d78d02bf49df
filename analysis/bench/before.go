package bench

import "math"

// hourBefore estimates how much the shares of failures of identical pods differ, from what stable's pods
// counted in the hour before a release: the standard deviation of their logarithms, without what chance
// alone would give.
func hourBefore(cell Cell, trace uint64) float64 {
	world := stream(cell.Name, trace, streamWorld)
	pods(world, cell.Pods) // the canary's come first
	random := stream(cell.Name, trace, streamBefore)
	var logs []float64
	chance := 0.
	for _, factor := range pods(world, StablePods) {
		failed := float64(poisson(3600*cell.Rate/StablePods*cell.Base*factor, random)) + .5
		logs = append(logs, math.Log(failed))
		chance += 1 / failed / StablePods
	}
	squares, middle := 0., mean(logs)
	for _, l := range logs {
		squares += (l - middle) * (l - middle)
	}
	return math.Sqrt(max(squares/(StablePods-1)-chance, 0))
}
