# Every target sets up what it needs. Nothing but Python 3.11 to 3.14 has to be installed.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do \
	command -v $$p >/dev/null && $$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 15))' \
	&& echo $$p && break; done)
VENV := .venv
PY := $(VENV)/bin/python
AIMQ := $(PY) -m aimq
PIP := $(PY) -m pip --disable-pip-version-check install --quiet --require-hashes
SELF := $(PY) -m pip --disable-pip-version-check install --quiet --no-deps --no-build-isolation -e .
# Tests of one file stay in one process: they share services. The long ones come first, by folder.
# Three processes on two cores: many tests wait.
PARALLEL := --numprocesses 3 --dist loadfile --no-loadscope-reorder
export PIP_ROOT_USER_ACTION := ignore

# Every target with a description is a command, not a file.
.PHONY: $(shell sed -nE 's/^([a-z0-9-]+):.*## .*/\1/p' $(MAKEFILE_LIST))

help: ## Show the targets
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z0-9-]+):.*## /\1\t/' | expand -t 16

demo: $(VENV)/.runtime ## Train if needed, start everything, score 1,000 rows, show them, stop
	@$(AIMQ) train --if-missing
	@$(AIMQ) demo

up: $(VENV)/.runtime ## Serve until Ctrl-C
	@$(AIMQ) train --if-missing
	@exec $(AIMQ) up

train: $(VENV)/.runtime ## Train and publish a new model version
	@$(AIMQ) train

test: $(VENV)/.dev services ## Run the tests
	@$(PY) -m pytest $(PARALLEL) -m "not faults"

coverage: $(VENV)/.dev services ## Run the tests with coverage, which takes half as long again
	@$(PY) -m coverage erase
	@$(PY) -m coverage run -m pytest $(PARALLEL) -m "not faults"
	@$(PY) -m coverage combine --quiet
	@$(PY) -m coverage report

test-quick: $(VENV)/.dev ## Run the tests that start nothing heavy
	@$(PY) -m pytest -q -m "not slow and not rabbitmq and not redis and not faults"

compose-up: ## Write .env with random secrets once, build the image, start everything (needs Docker)
	@deploy/env
	@docker compose up --build --detach
	@echo "Waiting for http://127.0.0.1:8080/health/ready (models are trained the first time)"
	@for n in $$(seq 150); do curl -sf -o /dev/null http://127.0.0.1:8080/health/ready && exit 0; sleep 2; done; \
		docker compose ps; echo "Not ready after 5 minutes; look at: docker compose logs" >&2; exit 1

test-faults: $(VENV)/.dev services ## Kill cluster nodes and primaries, freeze workers, step clocks
	@$(PY) -m pytest -m faults

test-compose: $(VENV)/.dev ## Build the image, run the compose file, score the sample (needs Docker)
	@$(PY) -m pytest -q -p no:cacheprovider tests/deploy/compose_run.py

test-k8s: $(VENV)/.dev ## Apply k8s/ to the current cluster, score the sample (needs a cluster with the image)
	@$(PY) -m pytest -q -p no:cacheprovider tests/deploy/cluster_run.py

lint: $(VENV)/.dev ## Check style, types and formatting
	@$(PY) -m ruff check .
	@$(PY) -m ruff format --check .
	@$(PY) -m mypy

format: $(VENV)/.dev ## Format the code
	@$(PY) -m ruff check --fix --quiet .
	@$(PY) -m ruff format --quiet .

chaos: $(VENV)/.dev services ## Kill services, servers and connections 200 times under load; nothing may be lost
	@$(AIMQ) train --if-missing
	@$(PY) -m benchmarks.chaos

hostile: $(VENV)/.dev ## Upload crafted workbooks while others are served; nothing may die or wait
	@$(AIMQ) train --if-missing
	@$(PY) -m benchmarks.hostile

bench: $(VENV)/.dev ## Measure a spreadsheet from upload to downloaded result
	@$(AIMQ) train --if-missing
	@$(PY) -m benchmarks.upload

bench-onnx: $(VENV)/.dev ## Measure the cached ONNX models against pickles loaded from disk
	@$(AIMQ) train --if-missing
	@$(PY) -m benchmarks.onnx_pickle

bench-floor: $(VENV)/.dev ## Measure the ML service against an empty endpoint and bare sessions
	@$(AIMQ) train --if-missing
	@$(PY) -m benchmarks.floor

bench-overload: $(VENV)/.dev ## Measure the ML service under ten times what it can serve
	@$(AIMQ) train --if-missing
	@$(PY) -m benchmarks.overload

bench-queue: $(VENV)/.dev .cache/bench/.ready services ## Measure the task queue beside Celery, Dramatiq and TaskIQ
	@$(PY) -m benchmarks.queue

bench-async: $(VENV)/.dev .cache/bench/.ready services ## Measure asynchronous against synchronous endpoints
	@$(AIMQ) train --if-missing
	@$(PY) -m benchmarks.async_study

bench-capacity: $(VENV)/.dev services ## Check the capacity model against a measured run
	@$(AIMQ) train --if-missing
	@$(PY) -m benchmarks.capacity_check

clean: ## Remove everything that was made: environment, models, data, results
	rm -rf $(VENV) .cache data results build dist .coverage .coverage.* .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find models -mindepth 1 -maxdepth 1 ! -name README.md -exec rm -rf {} +
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

services: ## Install RabbitMQ and Redis for the tests (root on Debian or Ubuntu; else says so)
	@tests/servers/install

$(VENV)/.python:
	@test -n "$(PYTHON)" || { printf '%s\n' "Python 3.11 to 3.14 is needed and none is on the PATH. Install one:" \
		"  Debian, Ubuntu   apt install python3 python3-venv" "  Fedora           dnf install python3" \
		"  macOS            brew install python@3.13" \
		"  anywhere         uv python install 3.13, then: make PYTHON=\$$(uv python find 3.13)" >&2; exit 2; }
	@$(PYTHON) -m venv $(VENV) || { echo "python3 -m venv does not work here; on Debian: apt install python3-venv" >&2; exit 2; }
	@touch $@

$(VENV)/.runtime: requirements/runtime.lock $(VENV)/.python
	@echo "Installing pinned packages into $(VENV) (half a minute the first time)"
	@$(PIP) -r requirements/runtime.lock
	@$(SELF)
	@touch $@

$(VENV)/.dev: requirements/dev.lock pyproject.toml $(VENV)/.python
	@echo "Installing pinned packages and test tools into $(VENV)"
	@$(PIP) -r requirements/dev.lock
	@$(SELF)
	@touch $@ $(VENV)/.runtime

.cache/bench/.ready: requirements/bench.lock $(VENV)/.python
	@echo "Installing the rivals into an environment of their own"
	@$(PYTHON) -m venv .cache/bench
	@.cache/bench/bin/python -m pip --disable-pip-version-check install --quiet --require-hashes -r requirements/bench.lock
	@touch $@
