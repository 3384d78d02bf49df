# Sluice. `make help` lists what there is to do.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

export CGO_ENABLED ?= 0
VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
LDFLAGS := -s -w -X github.com/sluice-mesh/sluice/internal/version.Version=$(VERSION)

include hack/cluster.mk

help: ## List the targets
	@grep -hE '^[a-zA-Z0-9_/-]+:.*## ' $(MAKEFILE_LIST) | sort | awk -F':.*## ' '{printf "  %-16s %s\n", $$1, $$2}'

build: build/bin/operator build/bin/proxy build/bin/sluice build/bin/shop build/bin/load ## Build the programs

.PHONY: build help
.PHONY: build/bin/operator build/bin/proxy build/bin/sluice build/bin/shop build/bin/load
build/bin/operator build/bin/proxy build/bin/sluice: build/bin/%:
	go build -trimpath -ldflags '$(LDFLAGS)' -o $@ ./cmd/$*
build/bin/shop build/bin/load: build/bin/%:
	go build -trimpath -ldflags '$(LDFLAGS)' -o $@ ./e2e/$*

GO_TEST := CGO_ENABLED=1 go test -race

.PHONY: test unit api-test e2e lint generate verify demo bench-release images gcc
test: lint verify unit api-test e2e ## Run everything: lint, unit, API and end-to-end tests on a real cluster

unit: gcc ## Run the unit tests with the race detector (under 2 minutes warm)
	$(GO_TEST) $$(go list ./... | grep -v -e /e2e$$)

api-test: gcc build/assets build/crds ## Run the API tests against a real API server
	KUBEBUILDER_ASSETS=$(CURDIR)/build/assets $(GO_TEST) -count=1 ./api/... ./controllers/... ./cmd/sluice/... ./internal/...

build/crds: build/bin/controller-gen $(wildcard api/v1alpha1/*.go)
	build/bin/controller-gen crd paths=./api/... output:dir=$@
	@touch $@

gcc: # the race detector links with a C compiler
	@command -v gcc >/dev/null || hack/packages.sh gcc libc6-dev

lint: build/bin/golangci-lint ## Run the linters
	build/bin/golangci-lint run ./...
	cd e2e/cluster && ../../build/bin/golangci-lint run --config ../../.golangci.yml ./...

generate: build/bin/controller-gen ## Regenerate deep copies, CRDs, the chart's copy and the reference
	build/bin/controller-gen object paths=./api/...
	go generate ./...

verify: generate ## Fail if something generated is out of date
	@git diff --exit-code -- api charts docs || { echo 'generated files are out of date: run make generate and commit' >&2; exit 1; }
