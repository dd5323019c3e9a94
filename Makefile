# Two commands do everything on a fresh machine: `make demo` and `make test`.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
UV := $(BIN)/uv
INSTALL := $(UV) pip install --quiet --python $(BIN)/python --require-hashes --only-binary :all:
COMPILE := $(UV) pip compile pyproject.toml --generate-hashes --no-emit-index-url --no-annotate --no-header --python-version 3.11 --quiet
APT_UPDATE := apt-get update -qq -o Acquire::Retries=0 -o Acquire::http::Timeout=10
APT_INSTALL := DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends
# Test processes: one more than two processors have, as tests wait. Each takes 1.6 GB.
WORKERS ?= 3
PORT ?= 8080
DATA ?= data
BENCHES ?= $(wildcard bench/*.py)

.PHONY: help demo test test-laptop services lint bench serve clean lock models browser setup setup-test

help: ## Show this list
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 10

# ---- set-up: each stamp is redone when its lock changes ------------------------------------------------------------
$(UV): requirements/bootstrap.txt
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("Portcullis needs Python 3.11 or newer, this is " + sys.version.split()[0] + ". Say which with PYTHON=…")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || { echo "This Python cannot make virtual environments: install its venv package (Debian: python3-venv)."; exit 1; }
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --only-binary :all: -r requirements/bootstrap.txt
	@touch $@

$(VENV)/.setup: requirements/setup.txt pyproject.toml $(UV)
	@echo "Installing Python packages into $(VENV) …"
	@$(INSTALL) -r requirements/setup.txt
	@$(UV) pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/.test: requirements/test.txt $(VENV)/.setup
	@$(INSTALL) -r requirements/test.txt
	@touch $@

$(VENV)/.bench: requirements/bench.txt $(VENV)/.test
	@$(INSTALL) -r requirements/bench.txt
	@touch $@

models/.ready: app/model_files.py app/llm/conversion.py app/llm/bert_graph.py | $(VENV)/.setup
	@echo "Fetching and preparing the models …"
	@$(BIN)/portcullis models
	@touch $@

setup: $(VENV)/.setup models/.ready

models: models/.ready ## Fetch the pinned models and turn them into models/

# ---- the two commands ------------------------------------------------------------------------------------------------
demo: setup ## Set up and open the demo (ONCE=1: run the tour and stop)
	@$(BIN)/portcullis demo $(if $(ONCE),--once,--port $(PORT) --data $(DATA))

test: setup $(VENV)/.test browser services lint ## Set up and run every test
	@$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder $(ARGS)

test-laptop: setup $(VENV)/.test browser lint ## The tests that need no OpenSearch and no PostgreSQL; says what it left out
	@PORTCULLIS_TEST_LAPTOP=1 $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder $(ARGS)

# ---- the rest ----------------------------------------------------------------------------------------------------------
lint: $(VENV)/.test ## Style, types, floors and rooms
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache

browser: ## Chromium for the tests of the pages: the one without windows where apt-get has it, which takes a third of the time, else any
	@command -v chromium-headless-shell >/dev/null || { \
	  echo "Installing Chromium with apt-get …"; \
	  { $(APT_UPDATE) && { $(APT_INSTALL) chromium-headless-shell fonts-liberation || $(APT_INSTALL) chromium fonts-liberation; }; } >/dev/null; } \
	  || command -v chromium || command -v chromium-browser || command -v google-chrome \
	  || { echo "Chromium is missing and could not be installed here. Install it (Debian: apt-get install chromium), then run make test again."; exit 1; }

services: $(VENV)/.test ## Maven for the tests, which fetches OpenSearch; Java and PostgreSQL come as packages
	@test -n "$${PORTCULLIS_TEST_OPENSEARCH:-}" || command -v mvn >/dev/null || { \
	  echo "Installing Maven with apt-get …"; \
	  { $(APT_UPDATE) && $(APT_INSTALL) maven openssl; } >/dev/null \
	  || { echo "Maven is missing and could not be installed here. Install it (Debian: apt-get install maven) and run make test again, name a running"; \
	       echo "OpenSearch with PORTCULLIS_TEST_OPENSEARCH, or run make test-laptop, which leaves out what needs one."; exit 1; }; }

bench: setup $(VENV)/.bench ## Measure; one JSON line a figure
	@for one in $(BENCHES); do $(BIN)/python $$one; done

serve: setup ## Serve with the settings of the environment
	@$(BIN)/portcullis serve

lock: $(UV) ## Pin the dependencies anew, with hashes
	@$(COMPILE) --extra setup --extra test --extra bench -o requirements/.all.txt
	@$(COMPILE) -c requirements/.all.txt -o requirements/server.txt
	@$(COMPILE) -c requirements/.all.txt --extra setup -o requirements/setup.txt
	@$(COMPILE) -c requirements/.all.txt --extra setup --extra test -o requirements/test.txt
	@$(COMPILE) -c requirements/.all.txt --extra setup --extra test --extra bench -o requirements/bench.txt
	@rm requirements/.all.txt

clean: ## Remove what set-up made; the data folder stays
	@rm -rf $(VENV) models .mypy_cache .ruff_cache .pytest_cache .hypothesis test-artifacts
