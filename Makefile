# `make help` lists the commands.
PYTHON ?= python3
# Another Python gets its own environment: make test PYTHON=python3.13 creates and uses .venv-3.13
VENV := .venv$(if $(filter-out file,$(origin PYTHON)),-$(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null))
WHOAMI_PORT ?= 8080
WHEREAMI_PORT ?= 8081
BIN := $(VENV)/bin
SERVER := $(VENV)/.server
READY := $(VENV)/.ready
PIP = $(BIN)/python -m pip install -qq --disable-pip-version-check
PROTO_OUT ?= .
PROTOC = $(BIN)/python -m grpc_tools.protoc --proto_path=proto

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-15s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: $(SERVER) ## start whoami on 8080 and whereami on 8081 (WHOAMI_PORT=, WHEREAMI_PORT=)
	@WHOAMI_PORT=$(WHOAMI_PORT) WHEREAMI_PORT=$(WHEREAMI_PORT) $(BIN)/python scripts/run_both.py

test: $(READY) ## run all tests in parallel (ARGS='-n 0 -k tls' runs some, one by one)
	$(BIN)/python -m pytest --numprocesses auto --dist loadgroup $(ARGS)

# The servers with an aiohttp other than the pinned one, in its own environment: AIOHTTP=3.14.2, oldest or newest
RANGE = $(shell sed -n 's/^    "aiohttp\(.*\)",/\1/p' pyproject.toml)
WANTED_newest = $(RANGE)
WANTED_oldest = $(shell sed -n 's|^    "aiohttp>=\([^,]*\),.*|==\1|p' pyproject.toml)

test-range: ## test the servers with the oldest and the newest aiohttp that pyproject.toml allows
	@$(MAKE) --no-print-directory test-aiohttp AIOHTTP=oldest
	@$(MAKE) --no-print-directory test-aiohttp AIOHTTP=newest

test-aiohttp: ## test the servers with one version: make test-aiohttp AIOHTTP=3.14.2
	@test -n "$(AIOHTTP)" || { echo "name a version: make test-aiohttp AIOHTTP=3.14.2" >&2; exit 2; }
	@$(MAKE) --no-print-directory test-with-aiohttp VENV=$(VENV)-aiohttp-$(AIOHTTP)

test-with-aiohttp: $(READY)
	$(PIP) --upgrade 'aiohttp$(or $(WANTED_$(AIOHTTP)),==$(AIOHTTP))'
	$(BIN)/python -m pytest --numprocesses auto --dist loadgroup tests/unit tests/contract tests/e2e $(ARGS)

check: $(READY) ## lint Python, Dockerfiles, shell scripts and YAML; check formatting and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/hadolint Dockerfile compose/Dockerfile
	$(BIN)/shellcheck scripts/*.sh .ci/run
	$(BIN)/yamllint --strict .

wheel-check: $(READY) ## build the sdist and the wheel, install that, and run both programs
	@$(BIN)/python scripts/check_wheel.py

bench: $(READY) ## compare with Granian, uvicorn, aiohttp and Node.js in three minutes (AGAINST=URL, ORIGINAL=path/to/whoami)
	@$(BIN)/python -m scripts.bench --rounds 3 --seconds 1 $(if $(ORIGINAL),--original $(ORIGINAL)) $(AGAINST)

bench-thorough: $(READY) ## the same, more thoroughly, in about 15 minutes
	@$(BIN)/python -m scripts.bench --rounds 5 --seconds 3 $(if $(ORIGINAL),--original $(ORIGINAL)) $(AGAINST)

proto: $(READY) ## regenerate the code for proto/
	@mkdir -p $(PROTO_OUT)/podkit/proto $(PROTO_OUT)/whoami/proto
	$(PROTOC) --python_out=$(PROTO_OUT)/whoami/proto --pyi_out=$(PROTO_OUT)/whoami/proto whoami.proto
	$(PROTOC) --python_out=$(PROTO_OUT)/podkit/proto --pyi_out=$(PROTO_OUT)/podkit/proto \
	  grpc/health/v1/health.proto grpc/reflection/v1/reflection.proto

UPGRADE ?= --upgrade
lock: ## update the pinned requirements, with hashes (needs uv; UPGRADE= changes only what it must)
	cd requirements && for set in server dev; do \
	  uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate \
	    --no-header --no-emit-index-url --no-emit-find-links $$set.in --output-file $$set.txt $(UPGRADE); done

screenshot: $(READY) ## retake docs/live.png (needs Chromium)
	@$(BIN)/python -m scripts.screenshot docs/live.png

clean: ## remove all generated files
	rm -rf .venv .venv-* build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# What the servers need; make run needs nothing else
$(SERVER): requirements/server.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || \
	  { echo "Python 3.11 or later is needed; $(PYTHON) is $$($(PYTHON) --version 2>/dev/null || echo missing)." \
	    "Name another: make PYTHON=python3.12 ..." >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) || \
	  { echo "Python's venv module is needed (on Debian and Ubuntu: apt install python3-venv)" >&2; exit 1; }
	$(PIP) --require-hashes -r requirements/server.txt
	@touch $@

# What development needs
$(READY): $(SERVER) requirements/dev.txt pyproject.toml
	$(PIP) --require-hashes -r requirements/dev.txt
	$(PIP) --no-deps --no-build-isolation -e .
	@touch $@

.PHONY: help run test test-range test-aiohttp test-with-aiohttp check wheel-check bench bench-thorough proto lock screenshot clean

# Images. PREFIX is prepended to their names: PREFIX=you/ gives you/whoami.
IMAGES := whoami whereami utils
PREFIX ?=
SBOM ?= build/sbom
VERSION := $(shell sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
REVISION = $(shell git rev-parse HEAD 2>/dev/null || echo unknown)
SOURCE = $(shell git config --get remote.origin.url || echo unknown)

image: ## build the images whoami, whereami and utils, tagged with the version and latest (PREFIX=)
	@for name in $(IMAGES); do \
	  docker build --target $$name --build-arg VERSION=$(VERSION) --build-arg REVISION=$(REVISION) \
	    --build-arg SOURCE=$(SOURCE) --tag $(PREFIX)$$name:$(VERSION) --tag $(PREFIX)$$name:latest . || exit 1; done

push: ## push the images to a registry: make push REGISTRY=host:port/you
	@test -n "$(REGISTRY)" || { echo "name a registry: make push REGISTRY=host:port/you" >&2; exit 2; }
	@for name in $(IMAGES); do for tag in $(VERSION) latest; do \
	  docker tag $(PREFIX)$$name:$(VERSION) $(REGISTRY)/$$name:$$tag && \
	  docker push $(REGISTRY)/$$name:$$tag || exit 1; done; done

sbom: $(READY) ## list the contents of the server images in CycloneDX format, in build/sbom (PREFIX=, SBOM=)
	@$(BIN)/python scripts/image_sbom.py $(SBOM) $(PREFIX)whoami:$(VERSION) $(PREFIX)whereami:$(VERSION)

bench-image: $(READY) ## measure the images' startup time and memory
	@$(BIN)/python scripts/bench_image.py $(PREFIX)whoami:latest:80 $(PREFIX)whereami:latest:8080

.PHONY: image push sbom bench-image

# The labs on a cluster. With REGISTRY=, nothing is built: the cluster pulls the pushed images.
TAG ?= $(VERSION)
LAB = REGISTRY=$(REGISTRY) TAG=$(TAG) CLASS=$(CLASS) GATEWAY_CLASS=$(GATEWAY_CLASS) HOST=$(HOST) sh scripts/lab.sh

lab: ## deploy the labs to your cluster, with local or pushed images (REGISTRY=, TAG=, CLASS=, HOST=)
	@$(LAB) check
	@$(if $(REGISTRY),,$(MAKE) --no-print-directory image)
	@$(LAB) up

manifests: ## write k8s/ for your registry, ingress class and host name to build/k8s (REGISTRY=, CLASS=, HOST=)
	@$(LAB) manifests

lab-clean: ## remove the labs from your cluster, including ns1 and ns2
	@$(LAB) down

.PHONY: lab manifests lab-clean
