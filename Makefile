# Two commands on a fresh machine: `make run` and `make test`. They need Python 3.11 or newer with venv, make, and the package index.
# The locks are made with pip-tools, by the command in the head of each.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
PROJECT := pyproject.toml README.md
CODE := schemas pipeline consumers producers tests

# Tests start daifu by the hundred; without its bytecode each start compiles all of it anew, which takes longer than the rest.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help run demo test check wheel sbom advisories test-containers test-rabbitmq4 test-deep test-kill fuzz chaos soak

help: ## this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: $(VENV)/run.stamp ## the whole pipeline in one process, with a sandbox and sample orders; stays up
	$(BIN)/daifu up --demo

demo: $(VENV)/run.stamp ## sample orders through all five stages, a table of how each ended
	$(BIN)/daifu demo

test: check ## everything: the checks, then all tests against a real RabbitMQ and a real PostgreSQL
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

check: $(VENV)/dev.stamp ## lint, formatting, types, and what the locks let in: hashes, known weaknesses, licences
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy --explicit-package-bases $(CODE)
	$(BIN)/python -m tests.supply check

# hatchling writes a fixed time into a wheel, or SOURCE_DATE_EPOCH; everything else of it comes from the files' content.
wheel: $(VENV)/dev.stamp ## dist/daifu-….whl, the same bytes from the same commit, with its SHA-256
	$(BIN)/python -m hatchling build -t wheel -d dist
	cd dist && sha256sum *.whl

sbom: $(VENV)/dev.stamp ## dist/daifu.cdx.json: what the product consists of, by name, version, licence and hash (CycloneDX 1.6)
	mkdir -p dist
	$(BIN)/python -m tests.supply sbom > dist/daifu.cdx.json

advisories: $(VENV)/dev.stamp ## ask anew which locked packages have known weaknesses; needs the network; commit what it writes
	$(BIN)/python -m tests.supply advisories

test-containers: $(VENV)/dev.stamp ## root on Debian: daifu's image and deploy/compose.yaml, and the integration tests with RabbitMQ and PostgreSQL in containers
	bash tests/services/containers/run.sh bookworm

test-rabbitmq4: $(VENV)/dev.stamp ## the same with RabbitMQ 4
	bash tests/services/containers/run.sh trixie

test-deep: $(VENV)/dev.stamp ## what takes hours: 2,000 simulated seeds, every act of people and a second death at every point
	$(BIN)/python -m tests.simulation.deep --seeds 2000 --orders 20
	$(BIN)/python -m tests.simulation.act_points
	$(BIN)/python -m tests.simulation.double_kills

test-kill: $(VENV)/dev.stamp ## SIGKILL of real processes at every point, on RabbitMQ and PostgreSQL
	$(BIN)/python -m tests.chaos.kills

fuzz: $(VENV)/dev.stamp ## coverage-guided fuzzing of every parser that outsiders reach; INPUTS=n SEED=n PARSER=name
	$(BIN)/python -m tests.fuzz --inputs $(or $(INPUTS),1000000) --seed $(or $(SEED),1) $(PARSER)

chaos: $(VENV)/dev.stamp ## the real stack under fire, 30 minutes; PART=workers|network|postgres|rabbitmq|relay|cluster MINUTES=n SEED=n
	$(BIN)/python -m tests.chaos $(if $(PART),--part $(PART)) $(if $(MINUTES),--minutes $(MINUTES)) $(if $(SEED),--seed $(SEED))

soak: $(VENV)/dev.stamp ## the same for HOURS=n, in rounds of fire and quiet, with an audit every minute
	$(BIN)/python -m tests.chaos --hours $(or $(HOURS),8) $(if $(SEED),--seed $(SEED))

# What a run needs is part of what the tests need: after `make test`, `make run` finds everything there.
$(VENV)/run.stamp: requirements.lock $(PROJECT) | $(BIN)/pip
	$(PIP) install --require-hashes -r requirements.lock
	$(PIP) install --no-deps --no-build-isolation --editable .
	touch $@

$(VENV)/dev.stamp: requirements-dev.lock $(PROJECT) | $(BIN)/pip
	$(PIP) install --require-hashes -r requirements-dev.lock
	$(PIP) install --no-deps --no-build-isolation --editable .
	touch $@ $(VENV)/run.stamp

$(BIN)/pip:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "daifu needs Python 3.11 or newer: make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)" >&2; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || \
		{ echo "this Python can't make virtual environments; on Debian: apt-get install python3-venv" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
