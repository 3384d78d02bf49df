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

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/protobuf/proto"

	"github.com/sluice-mesh/sluice/mesh/xds"
)

// Store is a file with the last good configuration: a line "sluice-config/1 <SHA-256 of the rest>", then
// a DeltaDiscoveryResponse with all resources and their versions.
type Store struct{ path string }

const storeFormat = "sluice-config/1"

// maxStored bounds what is read back.
const maxStored = maxAnswer

// NewStore names the file; its directory must exist by the time of the first write.
func NewStore(path string) *Store { return &Store{path: path} }

// Load reads the file. Resources of types that we do not know are left out. fs.ErrNotExist: there is
// none; any other error: it is not usable.
func (s *Store) Load() ([]versioned, error) {
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
	var message discoveryv3.DeltaDiscoveryResponse
	if err := proto.Unmarshal(body, &message); err != nil {
		return nil, fmt.Errorf("parse configuration: %w", err)
	}
	var resources []versioned
	for _, stored := range message.GetResources() {
		if packed, err := xds.Unpack(stored.GetResource()); err == nil {
			resources = append(resources, versioned{packed, stored.GetVersion()})
		}
	}
	return resources, nil
}

// Save replaces the file, whole or not at all.
func (s *Store) Save(resources []versioned) error {
	message := &discoveryv3.DeltaDiscoveryResponse{}
	for _, r := range resources {
		message.Resources = append(message.Resources, &discoveryv3.Resource{Name: r.Name, Version: r.version, Resource: r.Body})
	}
	body, err := proto.Marshal(message)
	if err != nil {
		return fmt.Errorf("marshal configuration: %w", err)
	}
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
