package prometheus

import (
	"errors"
	"fmt"
	"net/http"

	"github.com/prometheus/common/config"
)

// Connection says how a server is reached and how we say who we are. The zero value is a plain connection
// that trusts the system's certificate authorities. Files are read anew when they change, so that
// certificates and tokens may be renewed under way.
type Connection struct {
	// CA is the certificate authorities to trust instead of the system's, in PEM; or CAFile holds them.
	CA     []byte
	CAFile string
	// Cert and Key are the client's certificate, in PEM; or CertFile and KeyFile hold them.
	Cert, Key         []byte
	CertFile, KeyFile string
	// ServerName is the name to expect in the server's certificate. Empty: the address's.
	ServerName string
	// InsecureSkipVerify accepts any certificate.
	InsecureSkipVerify bool

	// BearerToken, or the content of BearerTokenFile, is sent as the bearer of each request.
	BearerToken, BearerTokenFile string
	// BasicAuth, when not nil, is sent with each request. It excludes a bearer token.
	BasicAuth *BasicAuth
	// Headers are sent with each request, such as X-Scope-OrgID. They may be secret.
	Headers map[string]string
}

// BasicAuth is a user and the password, or the file that holds it.
type BasicAuth struct{ Username, Password, PasswordFile string }

// RoundTripper makes the transport, for this package's clients and those of other providers. It asks for no
// compression: within a cluster, bytes are cheaper than packing and unpacking them on both sides at every
// look. Errors name files, never what is in them.
func (c Connection) RoundTripper(options ...config.HTTPClientOption) (http.RoundTripper, error) {
	cfg := config.HTTPClientConfig{
		TLSConfig: config.TLSConfig{
			CA: string(c.CA), CAFile: c.CAFile, Cert: string(c.Cert), CertFile: c.CertFile,
			Key: config.Secret(c.Key), KeyFile: c.KeyFile,
			ServerName: c.ServerName, InsecureSkipVerify: c.InsecureSkipVerify,
		},
		BearerToken: config.Secret(c.BearerToken), BearerTokenFile: c.BearerTokenFile,
		EnableHTTP2: true,
		ProxyConfig: config.ProxyConfig{ProxyFromEnvironment: true},
	}
	if c.BasicAuth != nil {
		if c.BasicAuth.Username == "" {
			return nil, errors.New("basic authentication has no user name")
		}
		cfg.BasicAuth = &config.BasicAuth{
			Username: c.BasicAuth.Username, Password: config.Secret(c.BasicAuth.Password), PasswordFile: c.BasicAuth.PasswordFile,
		}
	}
	if len(c.Headers) > 0 {
		cfg.HTTPHeaders = &config.Headers{Headers: map[string]config.Header{}}
		for name, value := range c.Headers {
			cfg.HTTPHeaders.Headers[name] = config.Header{Secrets: []config.Secret{config.Secret(value)}}
		}
	}
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("check connection: %w", err)
	}
	transport, err := config.NewRoundTripperFromConfig(cfg, "prometheus", options...)
	if err != nil {
		return nil, fmt.Errorf("read connection: %w", err)
	}
	return transport, nil
}
