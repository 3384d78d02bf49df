package pki_test

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"github.com/sluice-mesh/sluice/e2e/cluster/pki"
	"github.com/sluice-mesh/sluice/e2e/cluster/subnet"
)

func TestWrite(t *testing.T) {
	folder := t.TempDir()
	plan, err := subnet.For(1)
	if err != nil {
		t.Fatal(err)
	}
	if err := pki.Write(folder, "node", plan); err != nil {
		t.Fatal(err)
	}
	read := func(file string) []byte {
		content, err := os.ReadFile(filepath.Join(folder, file))
		if err != nil {
			t.Fatal(err)
		}
		return content
	}
	authority := x509.NewCertPool()
	if !authority.AppendCertsFromPEM(read(pki.CACert)) {
		t.Fatal("the authority is not a certificate")
	}

	server, err := tls.X509KeyPair(read(pki.ServerCert), read(pki.ServerKey))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{
		"127.0.0.1", plan.Node.String(), plan.API().String(), "localhost", "node",
		"kubernetes.default.svc.cluster.local",
	} {
		if _, err := server.Leaf.Verify(x509.VerifyOptions{Roots: authority, DNSName: name}); err != nil {
			t.Errorf("server under %s: %v", name, err)
		}
	}

	client, err := tls.X509KeyPair(read(pki.KubeletCert), read(pki.KubeletKey))
	if err != nil {
		t.Fatal(err)
	}
	usage := []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	if _, err := client.Leaf.Verify(x509.VerifyOptions{Roots: authority, KeyUsages: usage}); err != nil {
		t.Errorf("client: %v", err)
	}

	front, err := tls.X509KeyPair(read(pki.FrontProxyCert), read(pki.FrontProxyKey))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := front.Leaf.Verify(x509.VerifyOptions{Roots: authority, KeyUsages: usage}); err == nil {
		t.Error("the cluster's authority vouches for the front proxy: anybody could name any user")
	}

	admin := read(pki.AdminConfig)
	if !bytes.Contains(admin, []byte("server: https://"+plan.Node.String()+":6443")) {
		t.Errorf("the kubeconfig does not name the API server:\n%s", admin)
	}
	info, err := os.Stat(filepath.Join(folder, pki.CAKey))
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm() != 0o600 {
		t.Errorf("the authority's key has mode %v", info.Mode())
	}
}

func TestClientNamesUserAndGroups(t *testing.T) {
	authority, err := pki.NewAuthority("test")
	if err != nil {
		t.Fatal(err)
	}
	pair, err := authority.Client("system:node:a", "system:nodes")
	if err != nil {
		t.Fatal(err)
	}
	cert, err := tls.X509KeyPair(pair.Cert, pair.Key)
	if err != nil {
		t.Fatal(err)
	}
	subject := cert.Leaf.Subject
	if subject.CommonName != "system:node:a" || len(subject.Organization) != 1 || subject.Organization[0] != "system:nodes" {
		t.Errorf("got subject %v", subject)
	}
	if _, err := authority.Server("bad", nil, []netip.Addr{{}}); err == nil {
		t.Error("a server with no address at all was accepted")
	}
}
