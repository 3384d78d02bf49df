package component_test

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/sluice-mesh/sluice/e2e/cluster/component"
	"github.com/sluice-mesh/sluice/e2e/cluster/subnet"
)

func node(t *testing.T) component.Node {
	t.Helper()
	plan, err := subnet.For(2)
	if err != nil {
		t.Fatal(err)
	}
	return component.Node{
		Name: "test", Plan: plan, Cgroup: "/sluice-test", Snapshotter: "overlayfs",
	}
}

func TestEachComesAfterWhatItNeeds(t *testing.T) {
	var before []string
	for _, c := range component.All(node(t)) {
		for _, need := range c.Needs {
			if !slices.Contains(before, need) {
				t.Errorf("%s needs %s, which is not before it", c.Name, need)
			}
		}
		if (c.Probe.URL == "") == (c.Probe.Socket == "") {
			t.Errorf("%s has probe %+v, want exactly one way", c.Name, c.Probe)
		}
		before = append(before, c.Name)
	}
}

func TestConfigIsComplete(t *testing.T) {
	folder := t.TempDir()
	if err := component.WriteConfig(folder, node(t)); err != nil {
		t.Fatal(err)
	}
	err := filepath.WalkDir(folder, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if bytes.Contains(content, []byte("{{")) || bytes.Contains(content, []byte("invalid")) {
			t.Errorf("%s is not rendered:\n%s", entry.Name(), content)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
