package bench

// Verdicts is how many verdicts a second one core gives.
func Verdicts() float64 { return 0 }
