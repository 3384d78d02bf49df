package pki

import (
	"encoding/base64"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"

	"github.com/sluice-mesh/sluice/e2e/cluster/subnet"
)

// Files of a cluster's keys, relative to the folder given to Write. The authorities' and the
// servers' keys are files of their own; clients have theirs inside their kubeconfig.
const (
	CACert         = "ca.crt"
	CAKey          = "ca.key"
	ServerCert     = "server.crt" // of every server on the node: API server, kubelet, the managers
	ServerKey      = "server.key"
	KubeletCert    = "apiserver-kubelet-client.crt" // by which the API server is known to the kubelet
	KubeletKey     = "apiserver-kubelet-client.key"
	FrontProxyCA   = "front-proxy-ca.crt"
	FrontProxyCert = "front-proxy-client.crt"
	FrontProxyKey  = "front-proxy-client.key"
	TokenKey       = "service-account.key"
)

// Kubeconfigs of the cluster's own clients, relative to the same folder.
const (
	AdminConfig             = "admin.kubeconfig"
	ControllerManagerConfig = "kube-controller-manager.kubeconfig"
	SchedulerConfig         = "kube-scheduler.kubeconfig"
	KubeletConfig           = "kubelet.kubeconfig"
	ProxyConfig             = "kube-proxy.kubeconfig"
)

// Write makes all keys of a cluster whose only node has the given name, and writes them into the
// folder, which has to exist.
func Write(folder, node string, plan subnet.Plan) error {
	authority, err := NewAuthority("sluice-cluster-" + node)
	if err != nil {
		return err
	}
	front, err := NewAuthority("sluice-cluster-" + node + "-front-proxy")
	if err != nil {
		return err
	}
	server, err := authority.Server(node, serverNames(node), []netip.Addr{
		netip.AddrFrom4([4]byte{127, 0, 0, 1}), plan.Node, plan.API(),
	})
	if err != nil {
		return err
	}
	toKubelet, err := authority.Client("kube-apiserver-kubelet-client", "system:masters")
	if err != nil {
		return err
	}
	toExtension, err := front.Client("front-proxy-client")
	if err != nil {
		return err
	}
	tokenKey, err := SigningKey()
	if err != nil {
		return err
	}
	files := map[string][]byte{
		CACert: authority.Cert, CAKey: authority.Key,
		ServerCert: server.Cert, ServerKey: server.Key,
		KubeletCert: toKubelet.Cert, KubeletKey: toKubelet.Key,
		FrontProxyCA: front.Cert, FrontProxyCert: toExtension.Cert, FrontProxyKey: toExtension.Key,
		TokenKey: tokenKey,
	}
	clients := map[string]struct {
		user   string
		groups []string
	}{
		AdminConfig:             {"admin", []string{"system:masters"}},
		ControllerManagerConfig: {"system:kube-controller-manager", nil},
		SchedulerConfig:         {"system:kube-scheduler", nil},
		KubeletConfig:           {"system:node:" + node, []string{"system:nodes"}},
		ProxyConfig:             {"system:kube-proxy", nil},
	}
	for file, client := range clients {
		pair, err := authority.Client(client.user, client.groups...)
		if err != nil {
			return err
		}
		files[file] = kubeconfig(node, plan.Node, authority.Cert, pair)
	}
	for file, content := range files {
		if err := os.WriteFile(filepath.Join(folder, file), content, 0o600); err != nil {
			return fmt.Errorf("write key %s: %w", file, err)
		}
	}
	return nil
}

func serverNames(node string) []string {
	return []string{
		"localhost", node, "kubernetes", "kubernetes.default", "kubernetes.default.svc",
		"kubernetes.default.svc.cluster.local",
	}
}

// kubeconfig quotes the name: y is a fine one for a cluster and a truth value in YAML.
func kubeconfig(name string, server netip.Addr, ca []byte, client Pair) []byte {
	encode := base64.StdEncoding.EncodeToString
	return fmt.Appendf(nil, `apiVersion: v1
kind: Config
clusters:
- name: %[1]q
  cluster:
    server: https://%[2]s:6443
    certificate-authority-data: %[3]s
users:
- name: %[1]q
  user:
    client-certificate-data: %[4]s
    client-key-data: %[5]s
contexts:
- name: %[1]q
  context:
    cluster: %[1]q
    user: %[1]q
current-context: %[1]q
`, name, server, encode(ca), encode(client.Cert), encode(client.Key))
}
