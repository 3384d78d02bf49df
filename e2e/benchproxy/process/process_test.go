package process

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

func TestParseStat(t *testing.T) {
	line := "4242 (a (b) c) S 1 4240 77 0 -1 4194304 1 2 3 4 110 30 7 3 20 0 4 0 12345 1 2\n"
	got, err := parseStat(line)
	if want := (stat{4242, 4240, 1500 * time.Millisecond}); err != nil || got != want {
		t.Errorf("got %+v, %v; want %+v", got, err, want)
	}
	for _, bad := range []string{"", "1 (x) S 1", "1 (x) S 1 y 3 4 5 6 7 8 9 10 11 12 13 14 15"} {
		if _, err := parseStat(bad); err == nil {
			t.Errorf("parseStat(%q): no error", bad)
		}
	}
}

func TestParseRollup(t *testing.T) {
	text := "00400000-7ffe ---p 00000000 00:00 0 [rollup]\nRss:                2048 kB\nPss:  1 kB\nPss_Anon: 9 kB\nAnonymous:           100 kB\n"
	got, err := parseRollup(text)
	if want := (Memory{2048 << 10, 100 << 10}); err != nil || got != want {
		t.Errorf("got %+v, %v; want %+v", got, err, want)
	}
	if _, err := parseRollup("[rollup]\nRss: 1 kB\n"); err == nil {
		t.Error("no anonymous memory: no error")
	}
}

// start runs a shell script as a group.
func start(t *testing.T, script string) *Group {
	t.Helper()
	g, err := Start(t.Context(), Spec{Name: "script", Path: "sh", Args: []string{"-c", script}, Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(g.Stop)
	return g
}

// await waits until the condition holds.
func await(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !holds(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited too long for %s", what)
		}
	}
}

func TestCPUCountsChildrenAlsoThoseThatEnded(t *testing.T) {
	burn := "i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done"
	g := start(t, "("+burn+"); ("+burn+") & echo both; sleep 60")
	await(t, "output", func() bool { out, _ := g.Output(); return strings.Contains(out, "both") })
	first, err := g.CPU()
	if err != nil {
		t.Fatal(err)
	}
	if first == 0 {
		t.Error("the child that ended was not counted")
	}
	await(t, "the child that runs", func() bool { now, _ := g.CPU(); return now >= first+tick })
}

func TestStopEndsWhatIgnoresItAndItsChildren(t *testing.T) {
	g := start(t, "trap '' TERM; sleep 60 & echo $!; wait; sleep 60")
	var child int
	await(t, "the child", func() bool {
		out, _ := g.Output()
		child, _ = strconv.Atoi(strings.TrimSpace(out))
		return child != 0
	})
	if m, err := g.Memory(); err != nil || m.Anonymous <= 0 || m.Resident < m.Anonymous {
		t.Errorf("memory %+v, %v", m, err)
	}
	g.Stop()
	await(t, "the child's end", func() bool {
		text, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(child), "stat"))
		return err != nil || strings.Contains(string(text), ") Z")
	})
	if g.Running() == nil {
		t.Error("running after Stop")
	}
	if _, err := g.CPU(); err == nil {
		t.Error("CPU of what has ended: no error")
	}
}

func TestWait(t *testing.T) {
	if err := start(t, "exit 0").Wait(t.Context()); err != nil {
		t.Errorf("exit 0: %v", err)
	}
	err := start(t, "echo what went wrong; exit 3").Wait(t.Context())
	if err == nil || !strings.Contains(err.Error(), "what went wrong") || !strings.Contains(err.Error(), "exit status 3") {
		t.Errorf("exit 3: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := start(t, "sleep 60").Wait(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	if _, err := Start(t.Context(), Spec{Name: "nothing", Path: "no-such-program-here", Dir: t.TempDir()}); err == nil {
		t.Error("a program that is not there was started")
	}
}
