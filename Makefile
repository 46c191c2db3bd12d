# Everything a person or a build machine runs. `make help` lists it.

# The first Python that is new enough; `make setup PYTHON=/path/to/python` takes another.
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	"$$p" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 \
	&& { echo "$$p"; break; }; done)
BIN := .venv/bin
STAMP := .venv/.stamp
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
UV ?= $(if $(wildcard $(BIN)/uv),$(BIN)/uv,uv)
LOCK := $(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-header
# What to run and how, e.g. make demo ARGS=--no-tty, make bench BENCH=pipeline ARGS=--json
ARGS ?=
# Processes that run the tests. Half of the time they wait for servers: more of them than processors.
JOBS ?= 3
BENCH ?= $(basename $(notdir $(filter-out %/__init__.py,$(wildcard benchmarks/*.py)))) \
	$(notdir $(patsubst %/__main__.py,%,$(wildcard benchmarks/*/__main__.py)))

# The tests start hundreds of processes: what one has compiled the others need not.
export PYTHONDONTWRITEBYTECODE :=

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-long sim mutants fuzz faults checks lint types fmt schemas kafka \
	warm lock bench figures clean

help: ## This list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' Makefile

setup: $(STAMP) ## Make .venv with everything in it, once

$(STAMP): requirements.txt pyproject.toml
	@if [ ! -x $(BIN)/python ]; then \
		if [ -z "$(PYTHON)" ]; then \
			echo "driftsentry needs Python 3.11 or later; none of python3, python3.13," \
				"python3.12, python3.11 on the path is one. Name it:" \
				"make setup PYTHON=/path/to/python" >&2; exit 1; \
		fi; \
		if ! "$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then \
			echo "driftsentry needs Python 3.11 or later; $(PYTHON) is" \
				"`"$(PYTHON)" --version 2>&1`" >&2; exit 1; \
		fi; \
		if ! "$(PYTHON)" -c 'import ensurepip, venv' >/dev/null 2>&1; then \
			v=`"$(PYTHON)" -c 'import sys; print("%d.%d" % sys.version_info[:2])'`; \
			echo "$(PYTHON) cannot make virtual environments. Debian and Ubuntu keep" \
				"that part in a package of its own: apt-get install python$$v-venv" >&2; \
			exit 1; \
		fi; \
		echo "making .venv with $(PYTHON)"; \
		"$(PYTHON)" -m venv .venv || { rm -rf .venv; exit 1; }; \
	fi
	@echo "installing what requirements.txt names: about 100 MB, a minute or two"
	@# What is imported is compiled then: to compile all of it takes a third of the time of installing.
	@$(PIP) --no-compile --require-hashes --only-binary :all: -r requirements.txt
	@$(PIP) --no-deps --no-build-isolation -e .
	@touch $(STAMP)

demo: setup ## The whole system on this machine, with real drift (ARGS=--no-tty)
	@$(BIN)/driftsentry demo $(ARGS)

# The tests come after all else, so that their summary stands last. What comes before them runs side
# by side: mypy keeps one processor busy for a minute. The kernels are compiled once.
test: setup ## Every check and every test but the long ones (JOBS=0: in one process)
	@$(MAKE) --no-print-directory -j 2 checks kafka warm
	$(BIN)/python -m pytest -m "not long" -n $(JOBS) $(ARGS)

test-long: setup kafka ## The long tests alone
	$(BIN)/python -m pytest -m long $(ARGS)

faults: setup kafka warm ## 200 kills, 50 zombies and the rest, on three brokers (ARGS=--docs)
	$(BIN)/python -m tests.faults.run $(ARGS)

# One seed with its story (make sim SEED=17), or how many of them a second (make sim SEEDS=0:2000).
SEEDS ?= 0:2000
sim: setup ## Simulate the worker under faults (SEED=n: one run, told)
	@$(BIN)/python -m tests.simulation $(if $(SEED),--seed $(SEED),--seeds $(SEEDS)) $(ARGS)

mutants: setup ## Turn off every rule of delivery in turn: which test notices?
	@$(BIN)/python -m tests.simulation.mutants $(ARGS)

# For how many seconds altogether; another seed each time.
SECONDS ?= 600
fuzz: setup ## Fuzz every reader of foreign bytes (SECONDS=3600 ARGS=fold)
	@$(BIN)/python -m tests.fuzz --seconds $(SECONDS) --seed 0 $(ARGS)

kafka: setup ## Java, Maven, Kafka's jars and Alertmanager for the tests
	@$(BIN)/python -m tests.kit.install

warm: setup ## Compile every kernel now
	@$(BIN)/python -W error -m detectors.warm

checks: setup ## Lint, format, types, imports, schemas
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m schemas.export --check

lint: setup ## Lint and the direction of imports
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/lint-imports

types: setup ## mypy --strict
	$(BIN)/mypy

fmt: setup ## Format, and repair what can be repaired
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

schemas: setup ## Write the JSON Schemas anew from the models
	$(BIN)/python -m schemas.export

lock: ## Resolve the dependencies anew (needs uv)
	$(LOCK) pyproject.toml --extra demo --group dev --output-file requirements.txt
	$(LOCK) pyproject.toml --constraint requirements.txt --output-file requirements-runtime.txt
	$(LOCK) benchmarks/peers/requirements-quix.in \
		--output-file benchmarks/peers/requirements-quix.txt
	$(LOCK) benchmarks/performance/requirements-nannyml.in \
		--override benchmarks/performance/requirements-nannyml.overrides \
		--output-file benchmarks/performance/requirements-nannyml.txt
	echo hatchling | $(LOCK) - --constraint requirements.txt \
		--output-file requirements-build.txt

bench: setup ## The benchmarks, or one of them (BENCH=peers ARGS=--quick)
	@for b in $(BENCH); do echo "== $$b"; $(BIN)/python -m benchmarks.$$b $(ARGS) || exit 1; done

figures: setup kafka ## Run the benchmarks the docs name, and write their tables there
	$(BIN)/python -m tools.figures $(ARGS)

clean: ## Remove everything that can be made again, .venv too
	rm -rf .venv var build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis \
		.import_linter_cache *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
