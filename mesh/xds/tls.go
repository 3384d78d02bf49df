package xds

import (
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"

	"github.com/sluice-mesh/sluice/mesh/ir"
)

const (
	tlsSocket = "envoy.transport_sockets.tls"
	// systemRoots is where Envoy's images have the system's certificates.
	systemRoots = "/etc/ssl/certs/ca-certificates.crt"
	// grpcRoots names a certificate provider. gRPC rejects clusters with TLS that name none, or one that its
	// bootstrap does not have ("certificate_providers"), and uses it only with credentials from xDS: otherwise
	// the application brings its own TLS. Envoy has no such providers, and passes over the name.
	grpcRoots = "default"
)

// upstreamTLS is how TLS is spoken to endpoints of ports that speak HTTP.
func upstreamTLS(from ir.UpstreamTLS, port ir.Port) *corev3.TransportSocket {
	validation := &tlsv3.CertificateValidationContext{
		CaCertificateProviderInstance: &tlsv3.CertificateProviderPluginInstance{InstanceName: grpcRoots},
	}
	switch {
	case from.Insecure:
		validation.TrustChainVerification = tlsv3.CertificateValidationContext_ACCEPT_UNTRUSTED
	case from.CA != "":
		validation.TrustedCa = &corev3.DataSource{Specifier: &corev3.DataSource_InlineString{InlineString: from.CA}}
	default:
		validation.TrustedCa = &corev3.DataSource{Specifier: &corev3.DataSource_Filename{Filename: systemRoots}}
	}
	if !from.Insecure {
		validation.MatchTypedSubjectAltNames = []*tlsv3.SubjectAltNameMatcher{{
			SanType: tlsv3.SubjectAltNameMatcher_DNS,
			Matcher: &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Exact{Exact: from.ServerName}},
		}}
	}
	alpn := "http/1.1"
	if port.Protocol != ir.HTTP {
		alpn = "h2"
	}
	return &corev3.TransportSocket{
		Name: tlsSocket,
		ConfigType: &corev3.TransportSocket_TypedConfig{TypedConfig: pack(&tlsv3.UpstreamTlsContext{
			Sni: from.ServerName,
			CommonTlsContext: &tlsv3.CommonTlsContext{
				AlpnProtocols:         []string{alpn},
				ValidationContextType: &tlsv3.CommonTlsContext_ValidationContext{ValidationContext: validation},
			},
		})},
	}
}
