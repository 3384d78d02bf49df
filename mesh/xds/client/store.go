package client

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// Store is a file with the last good configuration: a line "sluice-config/2 <SHA-256 of the rest>", then
// a DeltaDiscoveryResponse with all parts, their names and their versions.
type Store struct{ path string }

const storeFormat = "sluice-config/2"

// maxStored bounds what is read back.
const maxStored = 64 << 20

// NewStore names the file; its directory must exist by the time of the first write.
func NewStore(path string) *Store { return &Store{path: path} }

// load reads the file. fs.ErrNotExist: there is none; any other error: it is not usable.
func (s *Store) load() (*response, error) {
	file, err := os.Open(s.path)
	if err != nil {
		return nil, fmt.Errorf("open configuration: %w", err)
	}
	defer func() { _ = file.Close() }()
	content, err := io.ReadAll(io.LimitReader(file, maxStored+1))
	if err != nil {
		return nil, fmt.Errorf("read configuration: %w", err)
	}
	if len(content) > maxStored {
		return nil, errors.New("read configuration: it is too large")
	}
	header, body, found := bytes.Cut(content, []byte("\n"))
	format, sum, _ := strings.Cut(string(header), " ")
	switch {
	case !found || format != storeFormat:
		return nil, errors.New("read configuration: unknown format")
	case sum != checksum(body):
		return nil, errors.New("read configuration: checksum differs")
	}
	stored, err := decodeResponse(body)
	if err != nil {
		return nil, fmt.Errorf("read configuration: %w", err)
	}
	return stored, nil
}

// save replaces the file, whole or not at all.
func (s *Store) save(stored *response) error {
	body := stored.encode()
	file, err := os.CreateTemp(filepath.Dir(s.path), filepath.Base(s.path)+".*")
	if err != nil {
		return fmt.Errorf("create configuration: %w", err)
	}
	defer func() { _ = os.Remove(file.Name()) }()
	_, err = file.Write(append([]byte(storeFormat+" "+checksum(body)+"\n"), body...))
	if err == nil {
		err = file.Sync()
	}
	if err = errors.Join(err, file.Close()); err != nil {
		return fmt.Errorf("write configuration: %w", err)
	}
	if err := os.Rename(file.Name(), s.path); err != nil {
		return fmt.Errorf("replace configuration: %w", err)
	}
	return nil
}

func checksum(body []byte) string {
	sum := sha256.Sum256(body)
	return hex.EncodeToString(sum[:])
}
