package harness

import (
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/google/go-cmp/cmp"
)

func TestLabel(t *testing.T) {
	for word, want := range map[string]string{
		"RollBackOnErrors":         "rollbackonerrors",
		"Missing/service":          "missing-service",
		"-x_y-":                    "x-y",
		strings.Repeat("long", 20): strings.Repeat("long", 10),
	} {
		if got := label(word); got != want {
			t.Errorf("label(%q) = %q, want %q", word, got, want)
		}
	}
}

func TestEstablished(t *testing.T) {
	// Two connections to 15010 (0x3AA2), one of them closing, the listener itself, and one from 15010.
	table := `  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid
   0: 00000000:3AA2 00000000:0000 0A 00000000:00000000 00:00000000 00000000 65532
   1: 0580CB0A:3AA2 0980CB0A:B1C2 01 00000000:00000000 02:00000000 00000000 65532
   2: 0580CB0A:3AA2 0A80CB0A:B1C4 06 00000000:00000000 03:00000000 00000000 0
   3: 0580CB0A:B1C6 0A80CB0A:3AA2 01 00000000:00000000 02:00000000 00000000 65532
`
	if got := established(table, 15010); got != 1 {
		t.Errorf("%d connections, want 1", got)
	}
}

// A version's behaviour must replace all of the one before it.
func TestVersionsNameTheSameVariables(t *testing.T) {
	names := func(v Version) []string {
		var all []string
		for _, e := range v.env() {
			all = append(all, e.Name)
		}
		return all
	}
	if diff := cmp.Diff(names(Version{Name: "v1"}), names(Version{Name: "v2", ErrorRate: 1, Latency: time.Second})); diff != "" {
		t.Error(diff)
	}
	if got := (Version{Name: "v1"}).image(); !strings.HasSuffix(got, ":v1") {
		t.Errorf("image %s", got)
	}
}

func TestPIDNeedsARunningContainer(t *testing.T) {
	pod := &corev1.Pod{Status: corev1.PodStatus{ContainerStatuses: []corev1.ContainerStatus{{Name: "shop", ContainerID: "containerd://abc"}}}}
	if pid, err := PID(pod, "shop"); err == nil {
		t.Errorf("process %d of a container that does not run", pid)
	}
	pod.Status.ContainerStatuses[0].State.Running = &corev1.ContainerStateRunning{}
	if pid, err := PID(pod, "shop"); err == nil && pid == 0 {
		t.Error("no process and no error")
	}
}
