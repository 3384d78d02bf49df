package main

import (
	"bytes"
	"context"
	"flag"
	"io"
	"net/netip"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"testing"
	"time"
)

// The test binary is also the program (asProxy) and the world that the program is tried in (asWorld).
const (
	asProxy = "PROXY_TEST_AS_PROXY"
	asWorld = "PROXY_TEST_AS_WORLD"
)

func TestMain(m *testing.M) {
	if os.Getenv(asProxy) != "" {
		ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
		code := command(ctx, os.Args[1:], os.Getenv, os.Stdout, os.Stderr)
		stop()
		os.Exit(code)
	}
	os.Exit(m.Run())
}

func environment(values map[string]string) func(string) string {
	return func(name string) string { return values[name] }
}

func TestSettings(t *testing.T) {
	parse := func(env map[string]string, args ...string) (settings, error) {
		var s settings
		set := flag.NewFlagSet("run", flag.ContinueOnError)
		set.SetOutput(io.Discard)
		err := s.parse(set, args, environment(env))
		return s, err
	}
	s, err := parse(nil)
	if err != nil || s.drain != 10*time.Second || s.grace != 5*time.Second || s.outbound != 15001 || s.inbound != 15006 ||
		s.admin != 15020 || s.state != "/var/lib/sluice" || s.self.IsValid() {
		t.Errorf("defaults: %+v, %v", s, err)
	}
	s, err = parse(map[string]string{"POD_IP": "10.1.2.3", "SLUICE_DRAIN": "3s", "SLUICE_SOURCE": "front"}, "-drain", "4s")
	if err != nil || s.self != netip.MustParseAddr("10.1.2.3") || s.drain != 4*time.Second || s.source != "front" {
		t.Errorf("environment and flag: %+v, %v", s, err)
	}
	s, err = parse(map[string]string{"SLUICE_LISTEN": "127.0.0.1:8080=10.96.0.1:80, [::1]:8081=[fd00::1]:81"})
	if err != nil || len(s.listen) != 2 || s.listen[1].to != netip.MustParseAddrPort("[fd00::1]:81") {
		t.Errorf("listen: %+v, %v", s.listen, err)
	}
	for name, env := range map[string]map[string]string{
		"POD_IP":                 {"POD_IP": "nowhere"},
		"SLUICE_DRAIN":           {"SLUICE_DRAIN": "-1s"},
		"SLUICE_ADMIN_PORT":      {"SLUICE_ADMIN_PORT": "99999"},
		"SLUICE_MAX_CONNECTIONS": {"SLUICE_MAX_CONNECTIONS": "0"},
		"SLUICE_LOG_LEVEL":       {"SLUICE_LOG_LEVEL": "loud"},
		"SLUICE_LISTEN":          {"SLUICE_LISTEN": "127.0.0.1:80"},
		"SLUICE_TLS_KEY":         {"SLUICE_TLS_CERTIFICATE": "only"},
	} {
		if _, err := parse(env); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("bad %s: %v, want an error that names it", name, err)
		}
	}
	if _, err := parse(nil, "extra"); err == nil {
		t.Error("an argument that means nothing was taken")
	}
}

func TestRedirectRefusesTheNodesNetwork(t *testing.T) {
	var stderr bytes.Buffer
	code := command(context.Background(), []string{"redirect"},
		environment(map[string]string{"POD_IP": "10.0.0.1", "HOST_IP": "10.0.0.1"}), io.Discard, &stderr)
	if code == 0 || !strings.Contains(stderr.String(), "hostNetwork") || !strings.Contains(stderr.String(), "sluice.dev/inject=disabled") {
		t.Errorf("exit %d: %s; want a refusal with the remedy", code, &stderr)
	}
}

func TestUsage(t *testing.T) {
	var stderr bytes.Buffer
	if code := command(context.Background(), []string{"fly"}, environment(nil), io.Discard, &stderr); code != 2 ||
		!strings.Contains(stderr.String(), "redirect | run | version") {
		t.Errorf("exit %d: %s", code, &stderr)
	}
	var stdout bytes.Buffer
	if code := command(context.Background(), []string{"version"}, environment(nil), &stdout, io.Discard); code != 0 || stdout.Len() < 2 {
		t.Errorf("version: exit %d, %q", code, &stdout)
	}
}
