# The benchmark of the data plane. The root Makefile includes this file; paths are relative to it.

# What to measure and for how long; `make bench-proxy ARGS=-h` lists it. A quick look, of a minute:
#   make bench-proxy ARGS='--only h1_small --rounds 1 --proxies sluice,haproxy,nginx'
ARGS ?=

PEERS := e2e/peers

$(BIN)/caddy: $(call pins,$(PEERS)/caddy)
	version=$(call module-version,$(PEERS)/caddy,github.com/caddyserver/caddy/v2) && cd $(PEERS)/caddy && \
	nice env $(TOOL_BUILD) -ldflags "$(TOOL_LDFLAGS) -X github.com/caddyserver/caddy/v2.CustomVersion=$$version" github.com/caddyserver/caddy/v2/cmd/caddy

$(BIN)/traefik: $(call pins,$(PEERS)/traefik)
	version=$(call module-version,$(PEERS)/traefik,github.com/traefik/traefik/v3) && cd $(PEERS)/traefik && \
	nice env $(TOOL_BUILD) -ldflags "$(TOOL_LDFLAGS) -X github.com/traefik/traefik/v3/pkg/version.Version=$${version#v}" github.com/traefik/traefik/v3/cmd/traefik

$(BIN)/reverseproxy: $(wildcard $(PEERS)/reverseproxy/*.go)
	$(TOOL_BUILD) -ldflags '$(TOOL_LDFLAGS)' ./$(PEERS)/reverseproxy

# The peers and the generators that Debian has. Nothing of them is left running by the benchmark.
BENCH_PACKAGES := haproxy:/usr/sbin/haproxy nginx:/usr/sbin/nginx wrk:/usr/bin/wrk nghttp2-client:/usr/bin/h2load \
  libnginx-mod-stream:/usr/lib/nginx/modules/ngx_stream_module.so util-linux:/usr/bin/taskset

.PHONY: bench-proxy-packages
bench-proxy-packages:
	@missing=; for entry in $(BENCH_PACKAGES); do \
	  test -e "$${entry#*:}" || missing="$$missing $${entry%%:*}"; done; \
	$(apt-install)

.PHONY: bench-proxy-programs
bench-proxy-programs: bench-proxy-packages $(BIN)/caddy $(BIN)/traefik $(BIN)/reverseproxy
	@CGO_ENABLED=0 go build -trimpath -ldflags '$(LDFLAGS)' -o $(BIN)/proxy ./cmd/proxy
	@CGO_ENABLED=0 go build -trimpath -ldflags '$(LDFLAGS)' -o $(BIN)/benchproxy ./e2e/cmd/benchproxy

##@ Proxy

.PHONY: bench-proxy
bench-proxy: bench-proxy-programs ## Measure the proxy beside its peers, into build/bench/proxy.json (ARGS for less, 25 minutes for all)
	@PATH="$$PATH:/usr/sbin" $(BIN)/benchproxy --bin $(BIN) --out build/bench/proxy.json $(ARGS)

.PHONY: pgo
pgo: bench-proxy-programs ## Profile the proxy under load, for the compiler, into cmd/proxy/default.pgo
	@PATH="$$PATH:/usr/sbin" $(BIN)/benchproxy --bin $(BIN) --pgo cmd/proxy/default.pgo
