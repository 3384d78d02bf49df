package host

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

func TestMissingCapabilities(t *testing.T) {
	tests := map[string]struct {
		status string
		want   []string
	}{
		"all":              {"CapEff:\t000001ffffffffff\n", nil},
		"no SYS_RESOURCE":  {"CapEff:\t000001fffeffffff\n", nil},
		"plain container":  {"Name:\tx\nCapEff:\t00000000a80425fb\n", []string{"NET_ADMIN", "SYS_PTRACE", "SYS_ADMIN"}},
		"no SYS_ADMIN":     {"CapEff:\t000001ffffdfffff\n", []string{"SYS_ADMIN"}},
		"no line about it": {"Name:\tx\n", nil},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got := missingCapabilities(test.status)
			if name == "no line about it" {
				if len(got) != len(capabilities) {
					t.Errorf("got %v, want all of them", got)
				}
				return
			}
			if !slices.Equal(got, test.want) {
				t.Errorf("got %v, want %v", got, test.want)
			}
		})
	}
}

func TestParseMounts(t *testing.T) {
	got := parseMounts(`22 1 254:0 / / rw,relatime - ext4 /dev/root rw
30 25 0:26 / /sys/fs/cgroup/memory rw,relatime shared:9 - cgroup cgroup rw,memory
31 25 0:27 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
garbage
`)
	want := []hierarchy{{"/sys/fs/cgroup/memory", false}, {"/sys/fs/cgroup/unified", true}}
	if !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestParseStat(t *testing.T) {
	got, err := parseStat("7 (a) R (b) S 1 7 7 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 3 0 4242 0 0\n")
	if want := (stat{started: 4242, state: "S", threads: 3}); err != nil || got != want {
		t.Errorf("got %+v, %v, want %+v", got, err, want)
	}
	for _, broken := range []string{"", "7 (a", "7 (a) S 1 2", "7 (a) S 1 7 7 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 x"} {
		if _, err := parseStat(broken); err == nil {
			t.Errorf("%q was accepted", broken)
		}
	}
}

func TestProcessIsRecognised(t *testing.T) {
	self, err := Identify(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	if !self.Alive() {
		t.Error("this process is not alive")
	}
	other := self
	other.Started++
	if other.Alive() {
		t.Error("another process with the same number is taken for this one")
	}
	if err := other.Kill(context.Background()); err != nil {
		t.Errorf("kill of a process that has gone: %v", err)
	}
	if (Process{}).Alive() {
		t.Error("no process is alive")
	}
}

func TestEnded(t *testing.T) {
	tests := map[string]struct {
		stat stat
		want bool
	}{
		"runs":                     {stat{state: "S", threads: 4}, false},
		"zombie":                   {stat{state: "Z", threads: 1}, true},
		"first thread is a zombie": {stat{state: "Z", threads: 2}, false},
		"runs with one thread":     {stat{state: "R", threads: 1}, false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if got := test.stat.ended(); got != test.want {
				t.Errorf("got %v, want %v", got, test.want)
			}
		})
	}
}

func TestPollEndsWithContext(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := Poll(ctx, func() bool { return false }); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestRemoveTreeLeavesFiles(t *testing.T) {
	root := t.TempDir()
	deep := filepath.Join(root, "a", "b")
	if err := os.MkdirAll(deep, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := removeTree(filepath.Join(root, "a")); err != nil {
		t.Fatal(err)
	}
	if err := removeTree(filepath.Join(root, "a")); err != nil {
		t.Errorf("second removal: %v", err)
	}
	if err := os.Mkdir(filepath.Join(root, "c"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(root, "c", "file"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := removeTree(filepath.Join(root, "c")); err == nil {
		t.Error("a folder that is not a cgroup was removed with the files in it")
	}
}
