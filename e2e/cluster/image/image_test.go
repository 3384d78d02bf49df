package image_test

import (
	"archive/tar"
	"bytes"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"github.com/sluice-mesh/sluice/e2e/cluster/image"
)

func TestParseFile(t *testing.T) {
	tests := map[string]struct {
		argument string
		want     image.File
		fails    bool
	}{
		"path alone":      {"build/bin/operator", image.File{Source: "build/bin/operator", Target: "/operator"}, false},
		"with target":     {"build/bin/x:/bin/operator", image.File{Source: "build/bin/x", Target: "/bin/operator"}, false},
		"nothing":         {"", image.File{}, true},
		"target alone":    {":/x", image.File{}, true},
		"relative target": {"x:bin/x", image.File{}, true},
		"escaping target": {"x:/../x", image.File{}, true},
		"folder":          {"x:/", image.File{}, true},
		"empty target":    {"x:", image.File{}, true},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := image.ParseFile(test.argument)
			if (err != nil) != test.fails || got != test.want {
				t.Errorf("got %+v, %v", got, err)
			}
		})
	}
}

func TestWrite(t *testing.T) {
	folder := t.TempDir()
	program, data := build(t, folder), filepath.Join(folder, "data")
	if err := os.WriteFile(data, []byte("hello"), 0o600); err != nil {
		t.Fatal(err)
	}
	spec := image.Spec{
		Name:  "sluice/test:dev",
		Files: []image.File{{Source: program, Target: "/bin/program"}, {Source: data, Target: "/etc/a/data"}},
		User:  "65532",
	}
	var first, second bytes.Buffer
	if err := image.Write(&first, spec); err != nil {
		t.Fatal(err)
	}
	if err := image.Write(&second, spec); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(first.Bytes(), second.Bytes()) {
		t.Error("the same files gave two different images")
	}

	tag := name.MustParseReference("sluice/test:dev").(name.Tag)
	packed, err := tarball.Image(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(first.Bytes())), nil }, &tag)
	if err != nil {
		t.Fatal(err)
	}
	config, err := packed.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	if got := config.Config.Entrypoint; len(got) != 1 || got[0] != "/bin/program" {
		t.Errorf("got entrypoint %v", got)
	}
	if config.Config.User != "65532" || config.OS != "linux" || config.Architecture == "" {
		t.Errorf("got user %q on %q, %q", config.Config.User, config.OS, config.Architecture)
	}
	layers, err := packed.Layers()
	if err != nil || len(layers) != 1 {
		t.Fatalf("got %d layers, %v", len(layers), err)
	}
	content, err := layers[0].Uncompressed()
	if err != nil {
		t.Fatal(err)
	}
	modes := map[string]int64{}
	for archive := tar.NewReader(content); ; {
		header, err := archive.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		modes[header.Name] = header.Mode
	}
	for file, mode := range map[string]int64{
		"tmp/": 0o1777, "bin/": 0o755, "bin/program": 0o755, "etc/": 0o755, "etc/a/": 0o755, "etc/a/data": 0o600,
	} {
		if modes[file] != mode {
			t.Errorf("%s has mode %o, want %o", file, modes[file], mode)
		}
	}
}

func TestWriteRefuses(t *testing.T) {
	folder := t.TempDir()
	program, text := build(t, folder), filepath.Join(folder, "text")
	if err := os.WriteFile(text, []byte("hello"), 0o600); err != nil {
		t.Fatal(err)
	}
	tests := map[string]struct {
		spec image.Spec
		want string
	}{
		"no files": {image.Spec{Name: "a:b"}, "no files"},
		"bad name": {image.Spec{Name: "A B", Files: []image.File{{Source: program, Target: "/a"}}}, "A B"},
		"missing":  {image.Spec{Name: "a:b", Files: []image.File{{Source: "none", Target: "/a"}}}, "none"},
		"text":     {image.Spec{Name: "a:b", Files: []image.File{{Source: text, Target: "/a"}}}, "has to be a program"},
		"dynamic":  {image.Spec{Name: "a:b", Files: []image.File{{Source: dynamic(t), Target: "/a"}}}, "CGO_ENABLED=0"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			err := image.Write(io.Discard, test.spec)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got error %v, want one with %q", err, test.want)
			}
		})
	}
}

func build(t *testing.T, folder string) string {
	t.Helper()
	program := filepath.Join(folder, "program")
	command := exec.Command("go", "build", "-o", program, "../pause")
	command.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux")
	if out, err := command.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return program
}

func dynamic(t *testing.T) string {
	t.Helper()
	shell, err := filepath.EvalSymlinks("/bin/sh")
	if err != nil {
		t.Skip("no dynamic program to try with")
	}
	return shell
}
