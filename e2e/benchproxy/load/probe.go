package load

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"time"
)

// Probe is one request that is looked at closely, to know that what is measured is what is meant.
type Probe struct {
	URL string
	// HTTP2 over TLS or, for http, from the first byte.
	HTTP2 bool
	// Post is the body, nil for GET; GRPC asks and expects as gRPC does.
	Post []byte
	GRPC bool
	// Want is the body of the response.
	Want []byte
}

// Run asks, and returns an error that says what is not as it should be.
func (p Probe) Run(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var protocols http.Protocols
	protocols.SetHTTP1(!p.HTTP2)
	protocols.SetHTTP2(p.HTTP2)
	protocols.SetUnencryptedHTTP2(p.HTTP2)
	transport := &http.Transport{
		Protocols: &protocols, DisableCompression: true, IdleConnTimeout: time.Second,
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, // the certificate was made for this run
	}
	defer transport.CloseIdleConnections()
	method := http.MethodGet
	if p.Post != nil {
		method = http.MethodPost
	}
	request, err := http.NewRequestWithContext(ctx, method, p.URL, bytes.NewReader(p.Post))
	if err != nil {
		return fmt.Errorf("make request: %w", err)
	}
	if p.GRPC {
		request.Header.Set("Content-Type", "application/grpc")
		request.Header.Set("TE", "trailers")
	}
	response, err := transport.RoundTrip(request)
	if err != nil {
		return fmt.Errorf("probe: %w", err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, 1<<20))
	if err != nil {
		return fmt.Errorf("probe %s: read: %w", p.URL, err)
	}
	switch {
	case response.StatusCode != http.StatusOK:
		return fmt.Errorf("probe %s: status %d, want 200: %.200s", p.URL, response.StatusCode, body)
	case !bytes.Equal(body, p.Want):
		return fmt.Errorf("probe %s: %d bytes that begin with %.60q, want %d bytes that begin with %.60q", p.URL, len(body), body, len(p.Want), p.Want)
	case p.HTTP2 != (response.ProtoMajor == 2):
		return fmt.Errorf("probe %s: answered in %s", p.URL, response.Proto)
	case p.GRPC && response.Trailer.Get("Grpc-Status") != "0":
		return fmt.Errorf("probe %s: grpc-status %q in trailers %v, want 0", p.URL, response.Trailer.Get("Grpc-Status"), response.Trailer)
	}
	return nil
}
