# The two commands that matter: `make run` and `make test`. Each sets up what it needs in .venv.

PYTHON ?= python3
BIN := .venv/bin

.DEFAULT_GOAL := help
.PHONY: run observe test test-tools dashboards bench lint format help

run: .venv/.embedded $(BIN)/freshgate  ## start everything on this machine; Ctrl-C stops it
	@exec $(BIN)/freshgate run

observe: .venv/.dev $(BIN)/freshgate  ## the same with made-up shoppers, Prometheus and Alertmanager; Ctrl-C stops it
	@exec $(BIN)/python -m dashboards.observe

test: lint  ## check the code and run all tests
	$(BIN)/python -m pytest -n auto --maxprocesses 8 --dist loadfile

test-tools: .venv/.tools  ## the checks that need large downloads: the real Compose, hadolint, Prometheus, DataDog
	$(BIN)/python -m pytest -m tools

lint: .venv/.dev $(BIN)/freshgate  ## ruff, mypy and the order of imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: .venv/.dev  ## rewrite the code as ruff likes it
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

dashboards: .venv/.dev  ## write the boards, rules and alerts anew
	$(BIN)/python -m dashboards.generate

bench: .venv/.dev  ## measure the speed on this machine, in six minutes; BENCH="--quick" in two
	$(BIN)/python -m bench $(BENCH)

help:  ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' Makefile

# A failed installation leaves no stamp, so the next call tries again.
.venv/.embedded: requirements.txt requirements-embedded.txt | $(BIN)/python
	@echo "installing what Freshgate needs into .venv"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-embedded.txt
	@touch $@

.venv/.dev: requirements.txt requirements-embedded.txt requirements-dev.txt requirements-sdk.txt | $(BIN)/python
	@echo "installing what Freshgate and its tests need into .venv"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -r requirements-sdk.txt
	@touch $@ .venv/.embedded

.venv/.tools: requirements-tools.txt .venv/.dev | $(BIN)/python
	@echo "installing the large tools into .venv"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-tools.txt
	@touch $@

# The command `freshgate` of this checkout. Not `pip install -e .`, which needs a newer setuptools than a venv has.
$(BIN)/freshgate: Makefile | $(BIN)/python
	@printf '%s\n' '#!/bin/sh' 'PYTHONPATH="$(CURDIR)$${PYTHONPATH:+:$$PYTHONPATH}"' 'export PYTHONPATH' \
	  'exec "$(CURDIR)/$(BIN)/python" -m freshgate_cli "$$@"' > $@
	@chmod +x $@

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "Freshgate needs Python 3.11 or newer: install it, or name it with make PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -m venv .venv
