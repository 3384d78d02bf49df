# Pinned tools and the real cluster. The root Makefile includes this file; paths are relative to it.
#
# Every program is a file in build/bin that depends on the go.mod that pins it, so it is built once
# and costs nothing afterwards. Each tool has a Go module of its own under tools/, so that no tool
# decides which version of a library another tool, or Sluice itself, gets.

BIN  := build/bin
NAME ?= dev

TOOL_LDFLAGS := -s -w
TOOL_BUILD    = CGO_ENABLED=0 go build -trimpath -o $(CURDIR)/$@

# $(call module-version,folder,module): the version that the go.mod in the folder selects.
module-version = $$(cd $1 && go list -m -f '{{.Version}}' $2)
# $(call pins,folder): what a program built in that folder depends on.
pins = $1/go.mod $1/go.sum

##@ Tools

.PHONY: tools
tools: $(BIN)/controller-gen $(BIN)/helm $(BIN)/golangci-lint ## Build the pinned developer tools

$(BIN)/controller-gen: $(call pins,tools/gen)
	cd tools/gen && $(TOOL_BUILD) -ldflags '$(TOOL_LDFLAGS)' sigs.k8s.io/controller-tools/cmd/controller-gen

$(BIN)/helm: $(call pins,tools/helm)
	version=$(call module-version,tools/helm,helm.sh/helm/v4) && cd tools/helm && \
	$(TOOL_BUILD) -ldflags "$(TOOL_LDFLAGS) -X helm.sh/helm/v4/internal/version.version=$$version" helm.sh/helm/v4/cmd/helm

$(BIN)/golangci-lint: $(call pins,tools/lint)
	version=$(call module-version,tools/lint,github.com/golangci/golangci-lint/v2) && cd tools/lint && \
	$(TOOL_BUILD) -ldflags "$(TOOL_LDFLAGS) -X main.version=$${version#v}" github.com/golangci/golangci-lint/v2/cmd/golangci-lint

$(BIN)/gotestsum: $(call pins,tools/testsum)
	cd tools/testsum && $(TOOL_BUILD) -ldflags '$(TOOL_LDFLAGS)' gotest.tools/gotestsum

# Only the Kubernetes service discovery: the clouds' clients are three quarters of the build.
$(BIN)/prometheus: $(call pins,tools/prometheus)
	version=$(call module-version,tools/prometheus,github.com/prometheus/prometheus) && cd tools/prometheus && \
	$(TOOL_BUILD) -tags remove_all_sd,enable_kubernetes_sd \
	  -ldflags "$(TOOL_LDFLAGS) -X github.com/prometheus/common/version.Version=3.$${version#v0.3}" \
	  github.com/prometheus/prometheus/cmd/prometheus

##@ Cluster

CLUSTER_PROGRAMS := $(addprefix $(BIN)/,cluster kube pause coredns prometheus)
CLUSTER_SOURCES  := $(shell find e2e/cluster -path e2e/cluster/kube -prune -o -path e2e/cluster/coredns -prune \
                      -o -path e2e/cluster/pause -prune -o -type f ! -name '*_test.go' -print)

.PHONY: up
up: packages $(CLUSTER_PROGRAMS) ## Start the cluster NAME (default dev), or say that it is up
	@$(BIN)/cluster up --name $(NAME)

.PHONY: down
down: $(BIN)/cluster ## Remove the cluster NAME and everything it left
	@$(BIN)/cluster down --name $(NAME)

.PHONY: test-cluster
test-cluster: packages $(CLUSTER_PROGRAMS) ## Test the cluster itself: two side by side, and what they leave
	cd e2e/cluster && SLUICE_CLUSTER_TEST=1 go test -count=1 ./...

# Not in one binary with Sluice's own tests on purpose: k8s.io/kubernetes must be imported by nobody.
$(BIN)/kube: $(call pins,e2e/cluster/kube) $(wildcard e2e/cluster/kube/*.go)
	version=$(call module-version,e2e/cluster/kube,k8s.io/kubernetes) && cd e2e/cluster/kube && \
	v=k8s.io/component-base/version && minor=$${version#v1.} && \
	$(TOOL_BUILD) -ldflags "$(TOOL_LDFLAGS) -X $$v.gitVersion=$$version -X $$v.gitMajor=1 -X $$v.gitMinor=$${minor%%.*} -X $$v.gitTreeState=clean" .

$(BIN)/coredns: $(call pins,e2e/cluster/coredns) $(wildcard e2e/cluster/coredns/*.go)
	cd e2e/cluster/coredns && $(TOOL_BUILD) -ldflags '$(TOOL_LDFLAGS)' .

$(BIN)/pause: e2e/cluster/pause/main.go
	cd e2e/cluster && $(TOOL_BUILD) -ldflags '$(TOOL_LDFLAGS)' ./pause

$(BIN)/cluster: $(CLUSTER_SOURCES)
	cd e2e/cluster && $(TOOL_BUILD) -ldflags '$(TOOL_LDFLAGS)' ./cmd/cluster

# A folder that KUBEBUILDER_ASSETS can name, for tests against an API server without nodes.
build/assets: $(BIN)/kube
	mkdir -p $@
	for program in etcd kube-apiserver kubectl; do ln -sfn ../bin/kube $@/$$program; done
	touch $@

# What the cluster takes from Debian. Checked by file, so that it costs nothing when all is there.
CLUSTER_PACKAGES := containerd:/usr/bin/containerd runc:/usr/sbin/runc nftables:/usr/sbin/nft \
  containernetworking-plugins:/usr/lib/cni/ptp util-linux:/usr/bin/nsenter iproute2:/sbin/ip

# Installs the Debian packages that the shell variable missing names, if any.
define apt-install
test -n "$$missing" || exit 0; \
command -v apt-get >/dev/null || { echo "install$$missing: they are needed and there is no apt-get here" >&2; exit 1; }; \
sudo=; test "$$(id -u)" = 0 || sudo=sudo; \
install="$$sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends $$missing"; \
$$install || { $$sudo apt-get update && $$install; }
endef

.PHONY: packages
packages: ## Install the Debian packages that the cluster needs, if any is missing
	@missing=; for entry in $(CLUSTER_PACKAGES); do \
	  test -e "$${entry#*:}" || missing="$$missing $${entry%%:*}"; done; \
	$(apt-install)
