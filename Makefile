# Needs Python 3.11 or newer and the package registry, nothing else.
# `make verify` only reads; `make fix` writes. Everything runs from $(VENV).

PYTHON ?= python3
VENV ?= .venv
CONFIG ?= cluster.yml
TEST_WORKERS ?= 2
SEEDS ?= 100
FIRST ?= 0
JOBS ?= 2
INPUT ?=
LEDGER ?=
MUTANT ?=
TIME ?= 10m
SCHEDULES ?= 1
SEED ?=

BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
CODE := raftlog bench chaos tests proto

.DEFAULT_GOAL := help
.PHONY: help install proto lint test test-all verify fix bench demo cluster stop status chaos chaos-minute chaos-sim chaos-seeds chaos-orders chaos-zoo crash clean

help: ## Show what can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(STAMP) ## Make the virtual environment and install into it

# The stamp is older than pyproject.toml when a dependency may have changed.
$(STAMP): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "make: $(PYTHON) is older than 3.11; run: make PYTHON=python3.11" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

proto: install ## Compile proto/ into the shipped descriptor set and stubs
	$(BIN)/python proto/compile.py

lint: install ## Formatting, rules, types, layers (changes nothing)
	$(BIN)/ruff format --check $(CODE)
	$(BIN)/ruff check $(CODE)
	$(BIN)/mypy --strict raftlog chaos bench proto
	$(BIN)/lint-imports

# One worker per core of a small machine; loadfile keeps a file's shared set-up in one worker. In
# the order of folders: by the number of their tests the longest files would come last, and alone.
PYTEST := $(BIN)/python -m pytest -n $(TEST_WORKERS) --dist loadfile --no-loadscope-reorder

test: install ## The tests that are not marked long: five to six minutes on two cores
	$(PYTEST) -m 'not long'

test-all: install ## Every test: a quarter of an hour
	$(PYTEST)

verify: lint test-all chaos-minute ## Everything that must hold before a commit

fix: install ## Format, and repair what can be repaired mechanically
	$(BIN)/ruff format $(CODE)
	$(BIN)/ruff check --fix $(CODE)

bench: install ## Measure everything, with the bar beside each figure
	$(BIN)/python -m bench.table

demo: install ## Three nodes, a real corpus, kill -9 in the middle, every byte compared
	$(BIN)/python -m bench.demo $(if $(INPUT),--input '$(INPUT)')

cluster: install ## Start the cluster of $(CONFIG) and wait until it answers
	$(BIN)/raftlog cluster up --config $(CONFIG)

status: install ## Who leads, and how far each node is
	$(BIN)/raftlog cluster status --config $(CONFIG)

stop: install ## Stop the cluster; its data stays
	$(BIN)/raftlog cluster down --config $(CONFIG)

chaos: install ## Break a cluster of real processes for TIME (10m) in SCHEDULES (1), from SEED; a report
	$(BIN)/python -m chaos run all --time $(TIME) --schedules $(SCHEDULES) $(if $(SEED),--seed $(SEED))

chaos-minute: install ## The same for a minute: processes, links, power and disks
	$(BIN)/python -m chaos run verify --seed 1

chaos-sim: install ## SEEDS runs of the simulator, from FIRST on; LEDGER=1 keeps the score
	$(BIN)/python -m chaos.sim --seeds $(FIRST):$$(($(FIRST) + $(SEEDS))) --jobs $(JOBS) \
		$(if $(LEDGER),--ledger)

chaos-seeds: install ## How many seeds this state of the product has survived
	$(BIN)/python -m chaos.seeds

chaos-orders: install ## Every order of up to six events among three nodes
	RAFTLOG_EVERY_ORDER=6 $(BIN)/python -m pytest -p no:xdist --durations 3 tests/raft/test_every_order.py

chaos-zoo: install ## Every planted bug (or MUTANT: those whose names contain it), and what catches it
	$(BIN)/python -m chaos.mutants --jobs $(JOBS) --only '$(MUTANT)'

crash: install ## Every crash state, and damage at every byte: some minutes
	$(BIN)/python -m chaos.crash --jobs $(JOBS) --at-least 50000
	$(BIN)/python -m chaos.damage --jobs $(JOBS)

# Data directories are nobody's to delete but their owner's: they stay.
clean: ## Remove the environment and all caches, but no data
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis build dist
	find . -name __pycache__ -type d -not -path './.git/*' -prune -exec rm -rf {} +
