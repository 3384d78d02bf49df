//go:build race

package h1_test

func init() { raceDetector = true }
