package supervisor

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"

	"github.com/sluice-mesh/sluice/e2e/cluster/component"
	"github.com/sluice-mesh/sluice/e2e/cluster/pki"
)

// prober asks components whether they are ready.
type prober struct {
	client *http.Client
}

func newProber(keys string) (prober, error) {
	authority, err := os.ReadFile(filepath.Join(keys, pki.CACert))
	if err != nil {
		return prober{}, fmt.Errorf("read authority: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(authority) {
		return prober{}, fmt.Errorf("read authority: no certificate in %s", pki.CACert)
	}
	return prober{client: &http.Client{
		Timeout: probeTimeout,
		Transport: &http.Transport{
			TLSClientConfig:   &tls.Config{RootCAs: pool},
			DisableKeepAlives: true, // a connection to a stopped component proves nothing
		},
	}}, nil
}

func (p prober) probe(ctx context.Context, probe component.Probe) error {
	if probe.URL == "" {
		ctx, cancel := context.WithTimeout(ctx, probeTimeout)
		defer cancel()
		conn, err := new(net.Dialer).DialContext(ctx, "unix", probe.Socket)
		if err != nil {
			return err
		}
		return conn.Close()
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, probe.URL, nil)
	if err != nil {
		return err
	}
	response, err := p.client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		body, _ := io.ReadAll(io.LimitReader(response.Body, 4096)) // best effort, for the message only
		return fmt.Errorf("status %d: %s", response.StatusCode, body)
	}
	return nil
}
