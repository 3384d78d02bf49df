package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/sluice-mesh/sluice/e2e/benchproxy/contender"
)

// profiled are the loads of the profile, alike in weight.
var profiled = []string{"h1_small", "h1_16k", "h1_newconn", "h1_small_tls", "h2", "grpc", "tcp"}

// profileFor is how long each is profiled.
const profileFor = 10 * time.Second

// writeProfile profiles our proxy under each load and merges the profiles into one for the compiler.
func (b *bench) writeProfile(ctx context.Context) error {
	ours, err := contender.Find([]string{contender.Ours})
	if err != nil {
		return err //nolint:wrapcheck // it says all there is to say
	}
	running, err := ours[0].Start(ctx, b.site)
	if err != nil {
		return err //nolint:wrapcheck // it says all there is to say
	}
	defer running.Stop()
	var files []string
	for _, name := range profiled {
		b.log.Info("profiling", "load", name)
		file := filepath.Join(b.site.Dir, name+".profile")
		if err := b.profileOne(ctx, loadNamed(name), running, file); err != nil {
			return fmt.Errorf("profile %s: %w", name, err)
		}
		files = append(files, file)
	}
	merged, err := exec.CommandContext(ctx, "go", append([]string{"tool", "pprof", "-proto"}, files...)...).Output()
	if err != nil {
		return fmt.Errorf("merge profiles: %w", err)
	}
	if err := os.WriteFile(b.profile, merged, 0o644); err != nil {
		return fmt.Errorf("write profile: %w", err)
	}
	return nil
}

// profileOne profiles while the load is on, which outlasts the profile a little.
func (b *bench) profileOne(ctx context.Context, l oneLoad, ours *contender.Running, file string) error {
	done := make(chan error, 1)
	go func() {
		done <- download(ctx, fmt.Sprintf("http://%s/debug/pprof/profile?seconds=%d", ours.Points[l.entry].Admin, profileFor/time.Second), file)
	}()
	_, err := b.measure(ctx, l, ours.Points[l.entry], profileFor+time.Second)
	return errors.Join(err, <-done)
}

// loadNamed is one of loads; the name must be there.
func loadNamed(name string) oneLoad {
	for _, l := range loads {
		if l.name == name {
			return l
		}
	}
	panic("no load " + name)
}

func download(ctx context.Context, url, file string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return fmt.Errorf("get profile: %w", err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return fmt.Errorf("get profile: %w", err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("get profile: %s", response.Status)
	}
	out, err := os.Create(file)
	if err != nil {
		return fmt.Errorf("get profile: %w", err)
	}
	_, err = io.Copy(out, response.Body)
	return errors.Join(err, out.Close())
}
