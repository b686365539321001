# adaptwin: `make demo` plans an example, `make test` runs every test. Both set up what they need in .venv.

SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help demo test test-unit test-cluster lint format lock accuracy bench clean

VENV := .venv
BIN := $(VENV)/bin
EXAMPLE ?= examples/llama-3.1-8b-160-adapters.yaml

# The first Python that is new enough; override with `make demo PYTHON=/path/to/python`.
PYTHON ?= $(shell for candidate in python3 python3.13 python3.12 python3.11; do \
	$$candidate -c 'import sys, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	&& echo $$candidate && break; done)

# A stamp is newer than the files that it was made from, so a second run installs nothing.
RUN_STAMP := $(VENV)/.installed
DEV_STAMP := $(VENV)/.installed-dev

help: ## This list.
	@sed -nE 's/^([a-z-]+):.*## (.*)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 22

demo: $(RUN_STAMP) ## Plan the serving of 160 adapters and have the digital twin verify it.
	$(BIN)/adaptwin plan -f $(EXAMPLE)

test: $(DEV_STAMP) ## Every test, also those against a real Kubernetes control plane (built on first use).
	$(BIN)/pytest --cov --cov-report=term
	@echo "Coverage of the packages without I/O, in percent; at least 90 is demanded:"
	@$(BIN)/coverage report --include='$(PURE)' --format=total --fail-under=90

test-unit: $(DEV_STAMP) ## Only the tests that need no Kubernetes control plane.
	$(BIN)/pytest -m "not cluster"

test-cluster: $(DEV_STAMP) ## Only the tests that need one; USE_EXISTING_CLUSTER=true takes your own, see docs/testing.md.
	$(BIN)/pytest -m cluster

lint: $(DEV_STAMP) ## Style, formatting, types and the direction of imports.
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(DEV_STAMP) ## Format the code and mend what can be mended.
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

COMPILE := uv pip compile --universal --generate-hashes --python-version 3.11 --no-emit-index-url \
	--custom-compile-command "make lock" pyproject.toml

# All but ray, which is large and only of use on a Ray cluster; the image fetches adapters and serves routes.
DEV_EXTRAS := train dask report agent gateway local dev
IMAGE_EXTRAS := agent gateway

lock: ## Pin anew what is installed (needs uv).
	$(COMPILE) $(addprefix --extra ,$(DEV_EXTRAS)) --output-file requirements-dev.lock
	$(COMPILE) --constraint requirements-dev.lock --extra report --output-file requirements-report.lock
	$(COMPILE) --constraint requirements-dev.lock $(addprefix --extra ,$(IMAGE_EXTRAS)) --output-file requirements.lock

accuracy: $(RUN_STAMP) ## Compare the twin with the measured runs of real GPUs.
	$(BIN)/adaptwin twin validate

bench: $(DEV_STAMP) ## Timings of the twin, the predictor, the placement and of whole plans.
	for bench in tests/bench/bench_*.py; do echo "$$bench"; $(BIN)/python $$bench || exit 1; done

clean: ## Remove the virtual environment and what tools left behind.
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache .coverage htmlcov

# Packages without I/O, whose coverage is held at 90 %.
PURE := twin/adapter_twin/*,predictor/adapter_predictor/*,operator/adapter_operator/planning/*,operator/adapter_operator/api/*

# requirements.lock is what the operator's image holds; people also draw reports.
$(RUN_STAMP): requirements-report.lock pyproject.toml
	@test -n "$(PYTHON)" || { echo "error: Python 3.11 or newer with venv is needed (on Debian: apt install python3-venv)" >&2; exit 1; }
	@echo "Setting up $(VENV) (the first time only; about 200 MB are downloaded)"
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --requirement requirements-report.lock
	$(BIN)/python -m pip install --quiet --no-deps --editable .
	@touch $@

$(DEV_STAMP): requirements-dev.lock $(RUN_STAMP)
	@echo "Adding the tools for development"
	$(BIN)/python -m pip install --requirement requirements-dev.lock
	@touch $@
