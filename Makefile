# Each target installs what it needs into .venv. While you write code: `make check`; before you push: `make test`.

PYTHON ?= python3
EXAMPLES ?= 100000
BIN := .venv/bin
AUDIT := .venv-audit
# pip installs nothing whose hash is not in the requirements, and asks nobody whether itself is new.
INSTALL := -m pip install --quiet --disable-pip-version-check --require-hashes
PYTEST := $(BIN)/python -m pytest -n auto --maxprocesses 8 --dist loadfile --no-loadscope-reorder

.DEFAULT_GOAL := help
.PHONY: run observe check test test-tools test-compose mutants converge dashboards bench lint format audit vulnerabilities sbom lock version-check help

run: .venv/.embedded $(BIN)/freshgate  ## start everything on this machine; Ctrl-C stops it
	@exec $(BIN)/freshgate run

observe: .venv/.dev $(BIN)/freshgate  ## make run with made-up shoppers, Prometheus and Alertmanager
	@exec $(BIN)/python -m dashboards.observe

check: lint  ## lint, types, imports and the fast tests, in less than a minute
	$(PYTEST) -m "not tools and not slow"

test: lint  ## lint, types, imports and all tests
	$(PYTEST)

test-tools: .venv/.tools  ## tests that need large downloads: Compose, hadolint, Prometheus, DataDog, Chromium, proxies
	$(BIN)/python -m pytest -m tools

test-compose: .venv/.tools  ## run docker-compose.yml on this machine's Docker engine: kill, pause, upgrade, restore; ten minutes
	FRESHGATE_TEST_COMPOSE=1 $(BIN)/python -m pytest -m tools tests/deploy/test_compose_live.py

mutants: .venv/.dev  ## plant faults into the engine one by one: which does no test notice? MUTANTS="gate.py" for a part
	$(BIN)/python -m tests.mutants $(MUTANTS)

converge: .venv/.dev  ## try many random streams in any order of arrival; EXAMPLES=1000 for fewer, SEED=… for the same ones
	@seed=$${SEED:-$$(od -An -N4 -tu4 /dev/urandom | tr -d ' ')}; echo "SEED=$$seed EXAMPLES=$(EXAMPLES)"; \
	  FRESHGATE_TEST_EXAMPLES=$(EXAMPLES) $(BIN)/python -m pytest -n auto -q --hypothesis-seed=$$seed --timeout=0 \
	  tests/engine/test_convergence.py tests/engine/test_convergence_identity.py tests/engine/test_convergence_of_persons.py \
	  tests/engine/test_convergence_of_needs.py tests/engine/test_convergence_of_asks.py

lint: .venv/.dev $(BIN)/freshgate  ## ruff, mypy and import-linter
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: .venv/.dev  ## fix and format the code with ruff
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

audit: $(AUDIT)/.audit  ## look for unsafe code (bandit) and for secrets in the repository (detect-secrets)
	$(AUDIT)/bin/bandit --quiet --configfile pyproject.toml --recursive freshgate adapter workers catalog freshgate_cli deploy
	git ls-files -z | xargs -0 $(AUDIT)/bin/detect-secrets-hook --baseline .secrets.baseline --exclude-files 'requirements.*\.txt$$'

vulnerabilities: $(AUDIT)/.audit  ## ask the network for known vulnerabilities of what we install
	for file in requirements.txt requirements-embedded.txt requirements-dev.txt; do \
	  $(AUDIT)/bin/pip-audit --require-hashes --disable-pip --strict --requirement $$file || exit 1; done

sbom: $(AUDIT)/.audit  ## write sbom.json, the list of what a release is made of (CycloneDX)
	@$(AUDIT)/bin/cyclonedx-py requirements --output-reproducible --pyproject pyproject.toml -o sbom.json requirements.txt

lock: $(AUDIT)/.audit  ## write the hashes of the pins in requirements*.in into requirements*.txt
	@$(AUDIT)/bin/python deploy/lock.py $(AUDIT)/bin/uv

dashboards: .venv/.dev  ## generate the boards, rules and alerts
	$(BIN)/python -m dashboards.generate

bench: .venv/.dev  ## measure the speed of this machine, in ten minutes or more; BENCH=--quick takes four
	$(BIN)/python -m bench $(BENCH)

version-check:  ## check that TAG=v1.2.3 names the version in freshgate/version.py
	@version=$$($(PYTHON) -c 'import runpy; print(runpy.run_path("freshgate/version.py")["VERSION"])'); \
	  test "$$TAG" = "v$$version" || { \
	  echo "TAG is '$$TAG', but freshgate/version.py says $$version: tag v$$version, or change VERSION" >&2; exit 1; }

help:  ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-15s  %s\n", $$1, $$2 }' Makefile

# A failed installation leaves no stamp, so the next call retries it.
.venv/.embedded: requirements.txt requirements-embedded.txt | $(BIN)/python
	@echo "installing what Freshgate needs into .venv"
	@$(BIN)/python $(INSTALL) -r requirements-embedded.txt
	@touch $@

.venv/.dev: requirements.txt requirements-embedded.txt requirements-dev.txt requirements-sdk.txt requirements-aws.txt \
  requirements-lambda.txt requirements-azure.txt | $(BIN)/python
	@echo "installing what Freshgate and its tests need into .venv"
	@$(BIN)/python $(INSTALL) -r requirements-dev.txt
	@$(BIN)/python $(INSTALL) --no-deps -r requirements-sdk.txt
	@$(BIN)/python $(INSTALL) --no-deps -r requirements-aws.txt
	@$(BIN)/python $(INSTALL) --no-deps -r requirements-lambda.txt -r requirements-azure.txt
	@touch $@ .venv/.embedded

.venv/.tools: requirements-tools.txt .venv/.dev | $(BIN)/python
	@echo "installing the large tools into .venv"
	@$(BIN)/python $(INSTALL) -r requirements-tools.txt
	@touch $@

$(AUDIT)/.audit: requirements-audit.txt
	@echo "installing what audits Freshgate into $(AUDIT)"
	@$(PYTHON) -m venv $(AUDIT)
	@$(AUDIT)/bin/python $(INSTALL) -r requirements-audit.txt
	@touch $@

# The command `freshgate` of this checkout. Not `pip install -e .`, which needs a newer setuptools than a venv has.
$(BIN)/freshgate: Makefile | $(BIN)/python
	@printf '%s\n' '#!/bin/sh' 'PYTHONPATH="$(CURDIR)$${PYTHONPATH:+:$$PYTHONPATH}"' 'export PYTHONPATH' \
	  'exec "$(CURDIR)/$(BIN)/python" -m freshgate_cli "$$@"' > $@
	@chmod +x $@

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "Freshgate needs Python 3.11 or newer: install it, or name it as in make PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -m venv .venv
