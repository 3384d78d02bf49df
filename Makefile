# Sluice. `make help` lists what there is to do.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
LDFLAGS := -s -w -X github.com/sluice-mesh/sluice/internal/version.Version=$(VERSION)
GO_TEST := CGO_ENABLED=1 go test -race -timeout 30m
# Which parts are tested by `make unit`: all but the end-to-end tests.
UNIT    := $$(go list ./... | grep -v /sluice/e2e$$)

include hack/cluster.mk
include e2e/targets.mk
include analysis/targets.mk
include e2e/benchproxy.mk

##@ Everyday

.PHONY: help
help: ## List the targets
	@awk -F':.*## ' '/^##@/ {printf "\n%s\n", substr($$0, 5)} /^[a-zA-Z0-9_-]+:.*## / {printf "  %-15s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: build
build: ## Build the operator, the proxy and the command line into build/bin
	@for program in operator proxy sluice; do CGO_ENABLED=0 go build -trimpath -ldflags '$(LDFLAGS)' -o build/bin/$$program ./cmd/$$program; done

.PHONY: test
test: lint verify unit api-test e2e ## Run everything: lint, unit, API and end-to-end tests on a real cluster

.PHONY: unit
unit: test-packages $(BIN)/prometheus $(BIN)/helm ## Run the unit tests with the race detector (about 5 minutes; Go keeps results)
	SLUICE_PROMETHEUS=$(CURDIR)/$(BIN)/prometheus $(GO_TEST) $(UNIT)

.PHONY: api-test
api-test: test-packages build/assets build/crds $(BIN)/helm ## Run the tests that need a real API server
	KUBEBUILDER_ASSETS=$(CURDIR)/build/assets $(GO_TEST) -count=1 ./api/... ./controllers ./controllers/runs ./controllers/traffic ./internal/cli/... ./charts/... ./docs

.PHONY: lint
lint: $(BIN)/golangci-lint ## Run the linters
	$(BIN)/golangci-lint run --allow-parallel-runners ./...
	cd e2e/cluster && $(CURDIR)/$(BIN)/golangci-lint run --allow-parallel-runners --config $(CURDIR)/.golangci.yml ./...

##@ Generated files

.PHONY: generate
generate: $(BIN)/controller-gen ## Regenerate deep copies, the CRDs in the chart and the reference in docs
	$(BIN)/controller-gen object paths=./api/...
	go run ./internal/chartcrd $(BIN)/controller-gen charts/sluice/templates
	go run ./internal/apidoc > docs/reference.md.new && mv docs/reference.md.new docs/reference.md

.PHONY: verify
verify: generate ## Fail if something generated is out of date
	@git diff --exit-code -- api/v1alpha1/zz_generated.deepcopy.go charts/sluice/templates/crd-*.yaml docs/reference.md || { echo 'generated files are out of date: run make generate and commit the result' >&2; exit 1; }

build/crds: $(BIN)/controller-gen $(wildcard api/v1alpha1/*.go)
	$(BIN)/controller-gen crd paths=./api/... output:dir=$@
	@touch $@

# What the tests take from Debian besides the cluster's: the race detector links with a C compiler, and the
# tests of traffic capture lay out networks with ip.
.PHONY: test-packages
test-packages:
	@missing=; { command -v gcc && test -e /usr/include/stdio.h; } >/dev/null || missing=' gcc libc6-dev'; \
	command -v ip >/dev/null || test "$$(uname)" != Linux || missing="$$missing iproute2"; \
	$(apt-install)
