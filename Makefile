# The words of the project. `make` alone lists them; each says what it does.

VENV := .venv
PY   := $(VENV)/bin/python
BIN  := $(VENV)/bin
OURS := mcp_sidecar tests hack bench
# Pass more words to pytest: make test ARGS="-k drain -x"
ARGS ?=
# Tests run side by side in so many processes: more than most machines have to spare, since tests often wait.
JOBS ?= 3
# `make demo ONCE=1` ends after the calls.
ONCE ?=
IMAGE ?= mcp-sidecar:dev

export PYTHON
# Nothing here may wait for a key.
export PIP_NO_INPUT := 1

.DEFAULT_GOAL := help
.PHONY: help demo setup format lint types test test-browser test-conformance test-matrix test-kube test-otel test-all bench protos chart image check docs static servers schemas wheels

say = @printf '==> %s\n' '$(1)'

help:  ## list these words
	@awk -F ':.*## +' '/^[a-z-]+:.*## / {printf "  make %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(VENV)/.run: pyproject.toml constraints-dev.txt hack/setup.sh
	$(call say,installing the sidecar and what it needs into $(VENV))
	@hack/setup.sh run

$(VENV)/.dev: pyproject.toml constraints-dev.txt hack/setup.sh
	$(call say,installing the sidecar with its tools into $(VENV))
	@hack/setup.sh dev

demo: $(VENV)/.run  ## see it work: a sidecar in front of a built-in MCP server (ONCE=1: end after the calls)
	$(call say,running the demo)
	@$(BIN)/mcp-sidecar demo $(if $(ONCE),--once)

setup: $(VENV)/.dev servers  ## build .venv with the sidecar, its tools, and the MCP servers the tests use
	$(call say,ready: $(BIN)/mcp-sidecar)

servers: $(VENV)/.dev
	$(call say,fetching the MCP servers that the tests use)
	@$(PY) -m tests.support.real_servers --install

# helm and kubectl are Go programs; without Go the tests that need them say so.
schemas: $(VENV)/.dev
	$(call say,fetching the schemas that manifests are checked with)
	@$(PY) -m tests.support.kube_schemas --install

format: $(VENV)/.dev  ## write every file as ruff formats it
	$(call say,formatting)
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix-only .

lint: $(VENV)/.dev  ## formatting, ruff, layers, dependencies, dead code
	$(call say,linting)
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/lint-imports
	@$(BIN)/deptry .
	@$(BIN)/vulture

types: $(VENV)/.dev  ## mypy, strict
	$(call say,checking types)
	@$(BIN)/mypy

protos: $(VENV)/.dev  ## generate mcp_sidecar/v1 from protos/
	$(call say,generating mcp_sidecar/v1 from protos/)
	@$(PY) hack/protos.py

docs: $(VENV)/.dev  ## generate the pages of docs/ and the files of deploy/ that come from the code
	$(call say,generating the configuration reference)
	@$(PY) hack/docs.py
	$(call say,generating what deploy/ has from the golden template and from the comments in values.yaml)
	@$(PY) hack/deploy.py
	@$(PY) hack/chart.py

static: lint types
	$(call say,comparing generated files with their sources)
	@$(PY) hack/protos.py --check
	@$(PY) hack/docs.py --check
	@$(PY) hack/deploy.py --check
	@$(PY) hack/chart.py --check

test: $(VENV)/.dev servers schemas  ## run the tests (ARGS="-k drain" picks some)
	$(call say,running the tests)
	@$(PY) -m pytest -n $(JOBS) $(ARGS)

check: static test  ## everything CI runs except the slow suites: lint, types, generated files, tests
	$(call say,all checks passed)

test-conformance: $(VENV)/.dev servers  ## the official MCP conformance suite through the sidecar (ARGS="-k HTTP" picks some)
	$(call say,running the conformance suite)
	@$(PY) -m pytest -n $(JOBS) -o faulthandler_timeout=300 tests/conformance $(ARGS)

test-kube: $(VENV)/.dev  ## the suite on a real cluster of one node, built and started for it (needs Go and root)
	$(call say,testing on a Kubernetes cluster)
	@hack/kube/test.sh $(ARGS)

test-matrix: $(VENV)/.dev servers  ## official clients and servers through a sidecar (ARGS=--write renews docs/protocol.md)
	$(call say,testing every client with every server)
	@$(PY) -m pytest -n $(JOBS) --dist loadgroup tests/matrix $(ARGS)

test-browser: $(VENV)/.dev  ## the admin page in Debian's Chromium; screenshots go to build/screenshots
	$(call say,testing the admin page in a browser)
	@$(PY) -c 'import sys; from tests.support.browser import missing; sys.exit(missing() or 0)'
	@$(PY) -m pytest -n0 tests/browser $(ARGS)

test-otel: $(VENV)/.dev  ## telemetry at a real OpenTelemetry Collector, built for it (needs Go), and at Debian's Prometheus
	$(call say,testing with a real collector and Prometheus)
	@hack/otelcol/build.sh >/dev/null
	@$(PY) -m pytest -n $(JOBS) tests/otel $(ARGS)

test-all: test test-browser test-conformance test-matrix test-otel test-kube  ## the tests and the slow suites

bench: $(VENV)/.dev  ## measure speed and memory beside other proxies (ARGS="--quick" for a short look)
	$(call say,measuring)
	@$(PY) -m bench.run $(ARGS)

chart: $(VENV)/.dev schemas  ## lint, test and package what is in deploy/ (needs Go, to build helm and kubectl)
	$(call say,packaging the Helm chart)
	@hack/package_chart.sh
	$(call say,testing the chart and the kustomizations)
	@hack/kube/build.sh helm kubectl >/dev/null
	@$(PY) -m pytest -n $(JOBS) tests/deploy $(ARGS)

wheels: $(VENV)/.dev  ## the wheels that the image is made of, into dist/wheels
	$(call say,collecting the wheels of the image)
	@hack/wheels.sh

image: $(VENV)/.dev  ## lint the Dockerfile, and build the image where docker is at hand
	$(call say,linting the Dockerfile)
	@$(PY) -m pytest -q -k dockerfile tests/test_repository.py
	@if docker info >/dev/null 2>&1; then \
	    hack/wheels.sh && printf '==> building $(IMAGE)\n' && docker build --network none -t $(IMAGE) .; \
	else \
	    echo 'no docker daemon answers: the image is linted, not built'; \
	fi
