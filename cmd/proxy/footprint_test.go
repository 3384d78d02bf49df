package main

import (
	"context"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// TestFootprint measures what the program costs in a pod's world (see TestPod), with requests and answers
// of 1 KB on 64 kept connections: 1,000 requests a second for as long as PROXY_FOOTPRINT says (a duration),
// then as many as go through for 10 s. It fails above the target of 40 MB of resident memory.
//
//	PROXY_FOOTPRINT=60s go test -count=1 -run TestFootprint -v ./cmd/proxy
func TestFootprint(t *testing.T) {
	length, err := time.ParseDuration(os.Getenv("PROXY_FOOTPRINT"))
	if err != nil {
		t.Skip("measures only when PROXY_FOOTPRINT says for how long, such as 60s")
	}
	binary := filepath.Join(t.TempDir(), "proxy")
	build := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", binary, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build: %v: %s", err, out)
	}
	openTo(t, filepath.Dir(binary))
	ctx, cancel := context.WithTimeout(t.Context(), length+2*time.Minute)
	defer cancel()
	out, err := enterWorld(ctx, "TestFootprintWorld", "PROXY_TEST_BINARY="+binary)
	t.Logf("%s", out)
	if err != nil {
		t.Fatal(err)
	}
}

// TestFootprintWorld is the inside of TestFootprint.
func TestFootprintWorld(t *testing.T) {
	binary := os.Getenv("PROXY_TEST_BINARY")
	if os.Getenv(asWorld) == "" || binary == "" {
		t.Skip("runs inside TestFootprint")
	}
	length, _ := time.ParseDuration(os.Getenv("PROXY_FOOTPRINT"))
	layOut(t)
	_, stop := controlPlane(t, shop(1, 50))
	defer stop()
	state := t.TempDir()
	openTo(t, state)
	if out, err := start(t, 0, state, "redirect").CombinedOutput(); err != nil {
		t.Fatalf("redirect: %v: %s", err, out)
	}
	run := start(t, user, state, "run")
	run.Path = binary
	run.Env = append(run.Env, "GOMEMLIMIT=48MiB", "GOMAXPROCS=1")
	begin(t, run)
	waitFor(t, "/startup", func() bool { return status("/startup") == 200 })

	t.Logf("idle: %.1f MB resident", resident(t, run))
	paced := load(t, run, length, 1000)
	t.Logf("1000 requests a second for %v: %s", length, paced)
	most := load(t, run, 10*time.Second, 0)
	t.Logf("as many as go through: %s", most)
	if paced.memory > 40 {
		t.Errorf("%.1f MB resident, more than the target of 40", paced.memory)
	}
	end(t, run)
}

// measured is the outcome of a load.
type measured struct {
	requests int
	cpu      time.Duration
	took     time.Duration
	latency  []time.Duration // sorted
	memory   float64         // MB
}

func (m measured) String() string {
	at := func(q float64) time.Duration {
		return m.latency[int(q*float64(len(m.latency)-1))].Round(10 * time.Microsecond)
	}
	return strings.Join([]string{
		strconv.Itoa(m.requests) + " requests in " + m.took.Round(time.Millisecond).String(),
		"CPU " + m.cpu.String(),
		strconv.Itoa(int(float64(m.requests)/m.cpu.Seconds())) + " requests per CPU-second",
		"p50 " + at(.5).String() + ", p90 " + at(.9).String() + ", p99 " + at(.99).String(),
		strconv.FormatFloat(m.memory, 'f', 1, 64) + " MB resident",
	}, "; ")
}

// load sends requests for a while, rate a second or, at 0, as many as go through.
func load(t *testing.T, program *exec.Cmd, length time.Duration, rate int) measured {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{
		MaxIdleConnsPerHost: 64, MaxConnsPerHost: 64, DisableCompression: true,
		DialContext: (&net.Dialer{Timeout: 5 * time.Second}).DialContext,
	}}
	defer client.CloseIdleConnections()
	var workers sync.WaitGroup
	var sent atomic.Int64
	latencies := make([][]time.Duration, 64)
	cpu, begun := used(t, program), time.Now()
	for w := range latencies {
		workers.Go(func() {
			for {
				n := sent.Add(1) - 1
				if rate > 0 {
					due := begun.Add(time.Duration(n) * time.Second / time.Duration(rate))
					time.Sleep(time.Until(due)) // the pace, not a wait for something to happen
				}
				if time.Since(begun) >= length {
					return
				}
				at := time.Now()
				response, err := client.Post("http://"+virtual+"/", "text/plain", strings.NewReader(kilobyte))
				if err != nil {
					t.Error(err)
					return
				}
				if _, err := io.Copy(io.Discard, response.Body); err != nil || response.StatusCode != 200 {
					t.Errorf("%s, %v", response.Status, err)
				}
				response.Body.Close()
				latencies[w] = append(latencies[w], time.Since(at))
			}
		})
	}
	workers.Wait()
	m := measured{took: time.Since(begun), cpu: used(t, program) - cpu, memory: resident(t, program)}
	m.latency = slices.Concat(latencies...)
	slices.Sort(m.latency)
	m.requests = len(m.latency)
	return m
}

var kilobyte = strings.Repeat("k", 1024)

// resident is a process's memory in MB (10^6 bytes).
func resident(t *testing.T, cmd *exec.Cmd) float64 {
	t.Helper()
	status, err := os.ReadFile("/proc/" + strconv.Itoa(cmd.Process.Pid) + "/status")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(status), "VmRSS:")
	kib, err := strconv.ParseFloat(strings.Fields(rest)[0], 64)
	if err != nil {
		t.Fatal(err)
	}
	return kib * 1024 / 1e6
}

// used is a process's CPU time.
func used(t *testing.T, cmd *exec.Cmd) time.Duration {
	t.Helper()
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(cmd.Process.Pid) + "/stat")
	if err != nil {
		t.Fatal(err)
	}
	field := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+2:]))
	var ticks time.Duration
	for _, f := range field[11:13] { // utime, stime: fields 14 and 15 of proc(5)
		n, err := strconv.Atoi(f)
		if err != nil {
			t.Fatal(err)
		}
		ticks += time.Duration(n)
	}
	return ticks * 10 * time.Millisecond // USER_HZ is 100
}
