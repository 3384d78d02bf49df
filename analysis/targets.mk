# The benchmark of the judge. The root Makefile includes this file; paths are relative to it.

# How many releases to simulate of each cell with each judge, and which cells, as a regular expression.
TRACES ?= 1000
CELLS  ?=

##@ Judge

.PHONY: bench-judge
bench-judge: ## Measure the judge on simulated releases, into build/bench/judge.json and .html (TRACES=100 for a quick look)
	@go run ./analysis/bench/judge -traces $(TRACES) -only '$(CELLS)' -out build/bench
