# The demo, the end-to-end tests and the release benchmark. The root Makefile includes this file after
# hack/cluster.mk; paths are relative to it.

# Programs of this module that go into pods or drive them. go build knows what is up to date.
E2E_PODS    := operator proxy shop load slackfake
E2E_DRIVERS := demo bench
E2E_SOURCE_operator := ./cmd/operator
E2E_SOURCE_proxy    := ./cmd/proxy
E2E_SOURCE_shop     := ./e2e/shop
E2E_SOURCE_load     := ./e2e/load
E2E_SOURCE_slackfake := ./notifier/slack/slackfake/serve
E2E_SOURCE_demo     := ./e2e/cmd/demo
E2E_SOURCE_bench    := ./e2e/cmd/bench

# How many tests at once: each has about five pods, and the node two cores.
E2E_PARALLEL ?= 3
# Which tests, as a regular expression; all of them where empty.
TEST         ?=

.PHONY: e2e-programs
e2e-programs: ## Build what the tests put into pods, and what drives them
	@$(foreach p,$(E2E_PODS) $(E2E_DRIVERS),CGO_ENABLED=0 go build -trimpath -ldflags '$(LDFLAGS)' -o $(BIN)/$(p) $(E2E_SOURCE_$(p)) &&) true

##@ Demo and end-to-end

.PHONY: demo
demo: packages $(CLUSTER_PROGRAMS) $(BIN)/helm e2e-programs ## Release three versions of a shop on a real cluster, watched live
	@$(BIN)/cluster up --name demo
	@$(BIN)/demo --cluster demo

# The cluster that tests and benchmarks run on. It is taken down at the end, also after a failure or
# Ctrl-C; KEEP=1 keeps it, to look around or to run again sooner.
E2E_CLUSTER ?= e2e
KEEP        ?=
define on-cluster
@$(BIN)/cluster up --name $(E2E_CLUSTER)
@trap '[ -n "$(KEEP)" ] || $(BIN)/cluster down --name $(E2E_CLUSTER)' EXIT; $(1)
endef

.PHONY: e2e
e2e: packages $(CLUSTER_PROGRAMS) $(BIN)/helm $(BIN)/gotestsum e2e-programs ## End-to-end tests on a real cluster (TEST=regexp for some, KEEP=1 keeps the cluster)
	$(call on-cluster,KUBECONFIG_E2E=$(CURDIR)/build/cluster/$(E2E_CLUSTER)/kubeconfig $(BIN)/gotestsum --format standard-verbose --hide-summary skipped -- -count=1 -timeout 75m -parallel $(E2E_PARALLEL) -run '$(value TEST)' ./e2e)

.PHONY: bench-release
bench-release: packages $(CLUSTER_PROGRAMS) $(BIN)/helm e2e-programs ## Measure releases on a real cluster, into build/bench/release.json
	$(call on-cluster,$(BIN)/bench --cluster $(E2E_CLUSTER) --out build/bench/release.json)
