package proxy

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"sync"

	"github.com/sluice-mesh/sluice/mesh/ir"
)

// sessions bounds the TLS sessions that are kept for resumption, of each policy.
const sessions = 64

// upstreamTLS makes the configurations by which we speak TLS to endpoints, one for each policy and protocol,
// so that sessions are resumed.
type upstreamTLS struct {
	mu      sync.Mutex
	configs map[upstreamKey]*tls.Config
}

type upstreamKey struct {
	policy ir.UpstreamTLS
	alpn   string
}

// maxConfigs bounds what is kept of policies that may be gone.
const maxConfigs = 256

func (u *upstreamTLS) config(policy *ir.UpstreamTLS, alpn string) (*tls.Config, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	key := upstreamKey{*policy, alpn}
	if config := u.configs[key]; config != nil {
		return config, nil
	}
	config := &tls.Config{
		ServerName: policy.ServerName,
		MinVersion: tls.VersionTLS12,
		// Who asks for this in a policy has been told what it means.
		InsecureSkipVerify: policy.Insecure, //nolint:gosec // see above
		ClientSessionCache: tls.NewLRUClientSessionCache(sessions),
	}
	if alpn != "" {
		config.NextProtos = []string{alpn}
	}
	if policy.CA != "" {
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM([]byte(policy.CA)) {
			return nil, fmt.Errorf("TLS to %s: the policy's certificate authority is not PEM", policy.ServerName)
		}
	}
	if u.configs == nil || len(u.configs) >= maxConfigs {
		u.configs = map[upstreamKey]*tls.Config{}
	}
	u.configs[key] = config
	return config, nil
}
