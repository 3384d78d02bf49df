package main

import (
	"crypto/tls"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"
)

// certificateAge is how often the files are looked at for a renewed certificate.
const certificateAge = 10 * time.Second

// certificate ends TLS for clients that ask for a name it is for, or for none. Its files are read again when
// they change; one that cannot be read leaves the former in use.
type certificate struct {
	cert, key string
	log       *slog.Logger
	server    *tls.Config // one for all, so that sessions are resumed

	mu      sync.Mutex
	current *tls.Certificate
	written time.Time // of the files that current is from
	looked  time.Time
}

func loadCertificate(cert, key string, log *slog.Logger) (*certificate, error) {
	c := &certificate{cert: cert, key: key, log: log}
	if err := c.read(); err != nil {
		return nil, err
	}
	c.server = &tls.Config{
		MinVersion: tls.VersionTLS12,
		NextProtos: []string{"h2", "http/1.1"},
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			return c.get(), nil
		},
	}
	return c, nil
}

// config is proxy.Options.TLS.
func (c *certificate) config(hello *tls.ClientHelloInfo) *tls.Config {
	if name := hello.ServerName; name != "" && c.get().Leaf.VerifyHostname(name) != nil {
		return nil
	}
	return c.server
}

// get returns the certificate, a renewed one a moment after it was written.
func (c *certificate) get() *tls.Certificate {
	c.mu.Lock()
	defer c.mu.Unlock()
	if now := time.Now(); now.Sub(c.looked) >= certificateAge {
		c.looked = now
		if written, err := c.stamp(); err != nil || !written.Equal(c.written) {
			if err := c.read(); err != nil {
				c.log.Warn("keep the certificate in use", "error", err)
			}
		}
	}
	return c.current
}

// read takes the files as they are.
func (c *certificate) read() error {
	written, err := c.stamp()
	if err != nil {
		return fmt.Errorf("read certificate: %w", err)
	}
	pair, err := tls.LoadX509KeyPair(c.cert, c.key)
	if err != nil {
		return fmt.Errorf("read certificate %s with key %s: %w", c.cert, c.key, err)
	}
	c.current, c.written = &pair, written
	return nil
}

// stamp is when the newer of the files was written.
func (c *certificate) stamp() (time.Time, error) {
	var newest time.Time
	for _, name := range []string{c.cert, c.key} {
		info, err := os.Stat(name)
		if err != nil {
			return time.Time{}, err
		}
		if info.ModTime().After(newest) {
			newest = info.ModTime()
		}
	}
	return newest, nil
}
