// Package component describes the programs that a cluster's node runs: their arguments, their
// configuration files, what each has to wait for, and how to ask whether it is ready. It starts
// nothing; package supervisor does.
//
// All paths are those inside of the cluster's mount namespace, where the cluster's folder is always
// at Root: short enough for unix sockets, and the same wherever the folder really is.
package component

import (
	"net/netip"
	"path"

	"github.com/sluice-mesh/sluice/e2e/cluster/pki"
	"github.com/sluice-mesh/sluice/e2e/cluster/subnet"
)

// Where things are inside of the cluster's mount namespace.
const (
	Root             = "/run/cluster"
	Programs         = "/run/programs"
	PKI              = Root + "/pki"
	Config           = Root + "/config"
	Data             = Root + "/data"
	Logs             = Root + "/logs"
	ContainerdSocket = "/run/containerd/containerd.sock" // where ctr looks by itself
)

// PauseImage holds each pod's namespaces.
const PauseImage = "sluice/pause:dev"

// Node is everything that the descriptions depend on.
type Node struct {
	Name        string
	Plan        subnet.Plan
	Cgroup      string // the cluster's cgroup, from the root of every hierarchy, such as /sluice-dev
	Snapshotter string // containerd's, overlayfs or native
}

// Component is one program.
type Component struct {
	Name  string   `json:"name"`
	Path  string   `json:"path"` // the executable
	Args  []string `json:"args"` // without the program's name
	Needs []string `json:"needs,omitempty"`
	Probe Probe    `json:"probe"`
}

// Probe is how to ask a component whether it is ready: the URL answers 200, or, where there is none,
// the unix socket accepts.
type Probe struct {
	URL    string `json:"url,omitempty"`
	Socket string `json:"socket,omitempty"`
}

// Names of the components, which are also the names of their logs.
const (
	Etcd              = "etcd"
	APIServer         = "kube-apiserver"
	ControllerManager = "kube-controller-manager"
	Scheduler         = "kube-scheduler"
	Containerd        = "containerd"
	Kubelet           = "kubelet"
	Proxy             = "kube-proxy"
)

// All returns the components of the node in an order in which each comes after what it needs.
func All(node Node) []Component {
	kube := func(name string, args, needs []string, probe string) Component {
		return Component{Name: name, Path: path.Join(Programs, "kube"), Args: args, Needs: needs, Probe: Probe{URL: probe}}
	}
	api := netip.AddrPortFrom(node.Plan.Node, 6443).String()
	return []Component{
		kube(Etcd, etcdArgs(), nil, "http://127.0.0.1:2379/health"),
		{
			Name: Containerd, Path: "containerd", Args: []string{"--config", path.Join(Config, containerdConfig)},
			Probe: Probe{Socket: ContainerdSocket},
		},
		kube(APIServer, apiServerArgs(node), []string{Etcd}, "https://"+api+"/readyz"),
		kube(ControllerManager, controllerManagerArgs(), []string{APIServer}, "https://127.0.0.1:10257/healthz"),
		kube(Scheduler, schedulerArgs(), []string{APIServer}, "https://127.0.0.1:10259/healthz"),
		kube(Kubelet, kubeletArgs(node), []string{APIServer, Containerd}, "http://127.0.0.1:10248/healthz"),
		kube(Proxy, []string{"--config=" + path.Join(Config, proxyConfig)}, []string{APIServer}, "http://127.0.0.1:10256/healthz"),
	}
}

// key is the path of a file of package pki.
func key(file string) string { return path.Join(PKI, file) }

func etcdArgs() []string {
	return []string{
		"--name=node",
		"--data-dir=" + path.Join(Data, "etcd"),
		"--listen-client-urls=http://127.0.0.1:2379",
		"--advertise-client-urls=http://127.0.0.1:2379",
		"--listen-peer-urls=http://127.0.0.1:2380",
		"--initial-advertise-peer-urls=http://127.0.0.1:2380",
		"--initial-cluster=node=http://127.0.0.1:2380",
		"--unsafe-no-fsync", // the data need not survive the machine
		"--snapshot-count=10000",
		"--log-level=warn",
	}
}

func apiServerArgs(node Node) []string {
	return []string{
		"--etcd-servers=http://127.0.0.1:2379",
		"--advertise-address=" + node.Plan.Node.String(),
		"--secure-port=6443",
		"--service-cluster-ip-range=" + node.Plan.Services.String(),
		"--tls-cert-file=" + key(pki.ServerCert),
		"--tls-private-key-file=" + key(pki.ServerKey),
		"--client-ca-file=" + key(pki.CACert),
		"--kubelet-certificate-authority=" + key(pki.CACert),
		"--kubelet-client-certificate=" + key(pki.KubeletCert),
		"--kubelet-client-key=" + key(pki.KubeletKey),
		"--kubelet-preferred-address-types=InternalIP",
		"--service-account-issuer=https://kubernetes.default.svc.cluster.local",
		"--service-account-key-file=" + key(pki.TokenKey),
		"--service-account-signing-key-file=" + key(pki.TokenKey),
		"--requestheader-client-ca-file=" + key(pki.FrontProxyCA),
		"--requestheader-allowed-names=front-proxy-client",
		"--requestheader-username-headers=X-Remote-User",
		"--requestheader-group-headers=X-Remote-Group",
		"--requestheader-extra-headers-prefix=X-Remote-Extra-",
		"--proxy-client-cert-file=" + key(pki.FrontProxyCert),
		"--proxy-client-key-file=" + key(pki.FrontProxyKey),
		"--authorization-mode=Node,RBAC",
		"--enable-admission-plugins=NodeRestriction",
		"--allow-privileged=true",
		// A test that is slowed down by fairness between its own requests measures nothing.
		"--enable-priority-and-fairness=false",
		"--max-requests-inflight=0",
		"--max-mutating-requests-inflight=0",
		// Ends open watches after two seconds of a shutdown instead of a minute.
		"--shutdown-send-retry-after=true",
		"--profiling=false",
	}
}

func controllerManagerArgs() []string {
	return []string{
		"--kubeconfig=" + key(pki.ControllerManagerConfig),
		"--authentication-kubeconfig=" + key(pki.ControllerManagerConfig),
		"--authorization-kubeconfig=" + key(pki.ControllerManagerConfig),
		"--tls-cert-file=" + key(pki.ServerCert),
		"--tls-private-key-file=" + key(pki.ServerKey),
		"--leader-elect=false",
		"--use-service-account-credentials=true",
		"--root-ca-file=" + key(pki.CACert),
		"--service-account-private-key-file=" + key(pki.TokenKey),
		"--cluster-signing-cert-file=" + key(pki.CACert),
		"--cluster-signing-key-file=" + key(pki.CAKey),
		"--kube-api-qps=200",
		"--kube-api-burst=400",
		"--terminated-pod-gc-threshold=50",
		"--node-monitor-period=2s",
		"--horizontal-pod-autoscaler-sync-period=2s",
		"--horizontal-pod-autoscaler-downscale-stabilization=10s",
		"--horizontal-pod-autoscaler-initial-readiness-delay=2s",
		"--horizontal-pod-autoscaler-cpu-initialization-period=10s",
		"--profiling=false",
	}
}

func schedulerArgs() []string {
	return []string{
		"--config=" + path.Join(Config, schedulerConfig),
		"--authentication-kubeconfig=" + key(pki.SchedulerConfig),
		"--authorization-kubeconfig=" + key(pki.SchedulerConfig),
		"--tls-cert-file=" + key(pki.ServerCert),
		"--tls-private-key-file=" + key(pki.ServerKey),
	}
}

func kubeletArgs(node Node) []string {
	return []string{
		"--config=" + path.Join(Config, kubeletConfig),
		"--kubeconfig=" + key(pki.KubeletConfig),
		"--hostname-override=" + node.Name,
		"--node-ip=" + node.Plan.Node.String(),
		"--root-dir=" + path.Join(Data, "kubelet"),
		"--cert-dir=" + path.Join(Data, "kubelet-pki"),
	}
}
