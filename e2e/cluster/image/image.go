// Package image packs static programs into container images: one layer, no base image, no registry.
// The same files give the same image.
package image

import (
	"archive/tar"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/compression"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// Spec is an image.
type Spec struct {
	Name       string   // with tag, such as sluice/operator:dev
	Files      []File   // at least one
	Entrypoint []string // the target of the first file where empty
	User       string   // as in a Dockerfile; root where empty
	Env        []string // NAME=value
}

// File is one file of an image.
type File struct {
	Source string // on this machine
	Target string // in the image, absolute
}

// ParseFile reads path[:target]; without a target the file keeps its base name and is put into the
// root folder.
func ParseFile(argument string) (File, error) {
	source, target, given := strings.Cut(argument, ":")
	if source == "" {
		return File{}, fmt.Errorf("parse file %q: no path", argument)
	}
	if !given {
		target = "/" + filepath.Base(source)
	}
	if !path.IsAbs(target) || path.Clean(target) != target || target == "/" {
		return File{}, fmt.Errorf("parse file %q: the target has to be the absolute path of a file", argument)
	}
	return File{Source: source, Target: target}, nil
}

// Write writes the image in the format of docker save, uncompressed: it travels to the same machine.
func Write(w io.Writer, spec Spec) error {
	if len(spec.Files) == 0 {
		return fmt.Errorf("pack image %s: it has no files", spec.Name)
	}
	tag, err := name.NewTag(spec.Name)
	if err != nil {
		return fmt.Errorf("pack image %s: %w", spec.Name, err)
	}
	for _, file := range spec.Files {
		if err := requireStatic(file.Source); err != nil {
			return fmt.Errorf("pack image %s: %w", spec.Name, err)
		}
	}
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return open(spec.Files), nil },
		tarball.WithCompression(compression.None))
	if err != nil {
		return fmt.Errorf("pack image %s: %w", spec.Name, err)
	}
	packed, err := mutate.AppendLayers(empty.Image, layer)
	if err != nil {
		return fmt.Errorf("pack image %s: %w", spec.Name, err)
	}
	packed, err = configure(packed, spec)
	if err != nil {
		return fmt.Errorf("pack image %s: %w", spec.Name, err)
	}
	if err := tarball.Write(tag, packed, w); err != nil {
		return fmt.Errorf("write image %s: %w", spec.Name, err)
	}
	return nil
}

func configure(packed v1.Image, spec Spec) (v1.Image, error) {
	current, err := packed.ConfigFile()
	if err != nil {
		return nil, err
	}
	machine, err := architecture(spec.Files[0].Source)
	if err != nil {
		return nil, err
	}
	config := current.DeepCopy()
	config.OS, config.Architecture = "linux", machine
	config.Config.Entrypoint = spec.Entrypoint
	if len(spec.Entrypoint) == 0 {
		config.Config.Entrypoint = []string{spec.Files[0].Target}
	}
	config.Config.User = spec.User
	config.Config.Env = append([]string{"PATH=/"}, spec.Env...)
	return mutate.ConfigFile(packed, config)
}

// open returns the layer as a stream, so that a large program is never in memory as a whole.
func open(files []File) io.ReadCloser {
	reader, writer := io.Pipe()
	go func() { writer.CloseWithError(writeLayer(writer, files)) }() // ends when the reader is closed
	return reader
}

func writeLayer(w io.Writer, files []File) error {
	archive := tar.NewWriter(w)
	for _, dir := range folders(files) {
		mode := int64(0o755)
		if dir == "tmp" {
			mode = 0o1777
		}
		if err := archive.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: dir + "/", Mode: mode}); err != nil {
			return err
		}
	}
	for _, file := range files {
		if err := addFile(archive, file); err != nil {
			return err
		}
	}
	return archive.Close()
}

// folders returns all folders that the files are in, parents first, and /tmp.
func folders(files []File) []string {
	all := []string{"tmp"}
	for _, file := range files {
		for dir := path.Dir(file.Target[1:]); dir != "."; dir = path.Dir(dir) {
			all = append(all, dir)
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

func addFile(archive *tar.Writer, file File) error {
	content, err := os.Open(file.Source)
	if err != nil {
		return err
	}
	defer content.Close()
	info, err := content.Stat()
	if err != nil {
		return err
	}
	// No time, no owner: the image depends on the content and the mode only.
	header := &tar.Header{
		Typeflag: tar.TypeReg, Name: file.Target[1:], Size: info.Size(), Mode: int64(info.Mode().Perm()),
	}
	if err := archive.WriteHeader(header); err != nil {
		return err
	}
	_, err = io.Copy(archive, content)
	return err
}

// requireStatic refuses a program that needs libraries, which the image will not have: it would die
// with "no such file or directory", naming nothing. Files that are no programs are fine.
func requireStatic(source string) error {
	program, err := elf.Open(source)
	var format *elf.FormatError
	switch {
	case errors.As(err, &format), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return nil
	case err != nil:
		return err
	}
	defer program.Close()
	for _, segment := range program.Progs {
		if segment.Type == elf.PT_INTERP {
			return fmt.Errorf("%s is not a static program: build it with CGO_ENABLED=0", source)
		}
	}
	return nil
}

// architecture returns the Go name of the machine that the program is for.
func architecture(source string) (string, error) {
	program, err := elf.Open(source)
	if err != nil {
		return "", fmt.Errorf("the first file has to be a program: %s: %w", source, err)
	}
	defer program.Close()
	switch program.Machine {
	case elf.EM_X86_64:
		return "amd64", nil
	case elf.EM_AARCH64:
		return "arm64", nil
	}
	return "", fmt.Errorf("%s is for a machine that is not known here: %v", source, program.Machine)
}
