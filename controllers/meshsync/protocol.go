package meshsync

import (
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/sluice-mesh/sluice/mesh/ir"
)

// protocols by the words that declare them. Those of TCP are spoken by programs that are often met, so that
// their ports need no look at the first bytes.
var protocols = map[string]ir.Protocol{
	"http": ir.HTTP, "http1": ir.HTTP, "http/1.1": ir.HTTP, "ws": ir.HTTP,
	"http2": ir.HTTP2, "http/2": ir.HTTP2, "h2c": ir.HTTP2,
	"grpc":  ir.GRPC,
	"https": ir.TLS, "tls": ir.TLS, "wss": ir.TLS, "ldaps": ir.TLS, "amqps": ir.TLS,
	"tcp": ir.TCP, "amqp": ir.TCP, "cassandra": ir.TCP, "etcd": ir.TCP, "ftp": ir.TCP, "imap": ir.TCP, "kafka": ir.TCP,
	"ldap": ir.TCP, "memcached": ir.TCP, "mongo": ir.TCP, "mongodb": ir.TCP, "mqtt": ir.TCP, "mssql": ir.TCP,
	"mysql": ir.TCP, "nats": ir.TCP, "postgres": ir.TCP, "postgresql": ir.TCP, "redis": ir.TCP, "smtp": ir.TCP,
	"ssh": ir.TCP, "zookeeper": ir.TCP,
}

// protocol of a Service's port: what appProtocol declares, or else the port's name, by its first word
// ("http-admin", "grpc-web").
func protocol(port corev1.ServicePort) ir.Protocol {
	declared := port.Name
	if port.AppProtocol != nil {
		declared = strings.TrimPrefix(strings.ToLower(*port.AppProtocol), "kubernetes.io/")
	}
	word, _, _ := strings.Cut(declared, "-")
	if known, is := protocols[word]; is {
		return known
	}
	return ir.Undeclared
}
