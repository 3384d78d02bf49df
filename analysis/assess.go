package analysis

import "time"

// Assess says what the evidence about a release says about its canary at the time now. It is a pure
// function and may be asked as often as one likes.
func Assess(release Release, settings Settings, evidence Evidence, now time.Time) Verdict {
	_, _, _, _ = release, settings, evidence, now
	return Verdict{Outcome: Inconclusive, Reason: "not judged yet"}
}
