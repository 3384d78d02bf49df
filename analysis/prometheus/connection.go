package prometheus

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
