package component

import (
	"bytes"
	"embed"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"text/template"

	"github.com/sluice-mesh/sluice/e2e/cluster/pki"
)

// Configuration files, relative to the folder given to WriteConfig.
const (
	containerdConfig = "containerd.toml"
	cniConfig        = "cni/10-sluice.conflist"
	kubeletConfig    = "kubelet.yaml"
	proxyConfig      = "kube-proxy.yaml"
	schedulerConfig  = "kube-scheduler.yaml"
	resolvConfig     = "resolv.conf"
)

//go:embed config
var templates embed.FS

// WriteConfig writes the configuration files of all components into the folder, which has to exist.
func WriteConfig(folder string, node Node) error {
	values := map[string]any{
		"Node":       node,
		"PauseImage": PauseImage,
		"Socket":     ContainerdSocket,
		"Data":       Data,
		"Config":     Config,
		"ResolvConf": path.Join(Config, resolvConfig),
		"CNI":        path.Join(Config, path.Dir(cniConfig)),
		"CACert":     key(pki.CACert),
		"ServerCert": key(pki.ServerCert),
		"ServerKey":  key(pki.ServerKey),
		"ProxyKey":   key(pki.ProxyConfig),
		"Scheduler":  key(pki.SchedulerConfig),
	}
	for _, file := range []string{
		containerdConfig, cniConfig, kubeletConfig, proxyConfig, schedulerConfig, resolvConfig,
	} {
		content, err := render(file, values)
		if err != nil {
			return err
		}
		target := filepath.Join(folder, file)
		if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
			return fmt.Errorf("make configuration folder: %w", err)
		}
		if err := os.WriteFile(target, content, 0o644); err != nil {
			return fmt.Errorf("write configuration %s: %w", file, err)
		}
	}
	return nil
}

func render(file string, values any) ([]byte, error) {
	parsed, err := template.New(path.Base(file)).Option("missingkey=error").ParseFS(templates, path.Join("config", file))
	if err != nil {
		return nil, fmt.Errorf("parse configuration %s: %w", file, err)
	}
	var out bytes.Buffer
	if err := parsed.Execute(&out, values); err != nil {
		return nil, fmt.Errorf("render configuration %s: %w", file, err)
	}
	return out.Bytes(), nil
}
