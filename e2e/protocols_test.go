package e2e

import (
	"testing"

	"github.com/sluice-mesh/sluice/api/v1alpha1"
	"github.com/sluice-mesh/sluice/e2e/harness"
)

// Whatever is spoken, a good version takes all traffic step by step, and clients notice nothing but the
// version: gRPC calls and conversations one by one on one connection, WebSockets and TCP connections (whose
// server speaks first, on a port that declares nothing) one by one.
func TestPromoteInOtherProtocols(t *testing.T) {
	t.Parallel()
	for _, protocol := range []string{"grpc", "ws", "tcp"} {
		t.Run(protocol, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, setting{protocol: protocol})
			w.release(v2)
			w.reaches(1, 20)
			w.reaches(1, 50)
			w.ends(1, v1alpha1.OutcomePromoted)
			w.served("v2")
			s := w.nothingLost(w.load)
			if bad := s.Total.Bad(); bad != 0 {
				t.Errorf("%d bad answers, want none", bad)
			}
			w.ordinary()
		})
	}
}

// A version that fails in gRPC's own way, with HTTP's status 200, is rolled back; nothing is lost on the way.
func TestRollBackByGRPCStatus(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setting{protocol: "grpc"})
	w.release(harness.Version{Name: "v2", ErrorRate: 0.3})
	w.reaches(1, 20)
	w.ends(1, v1alpha1.OutcomeRolledBack)
	w.served("v1")
	w.nothingLost(w.load)
	w.serviceAsBefore()
}
