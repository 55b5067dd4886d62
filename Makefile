# The house's commands. On a fresh machine with Python 3.11, pip and make: `make demo`, then `make test`.
#
#   make demo     set up, then run the nightly job on the embedded demo
#   make test     set up, then run the tests
#   make test-postgresql  the tests, with catalogues on a throw-away PostgreSQL server (as long as make test)
#   make check    what CI runs: format, lint, types, layers, tests
#   make fault    a thousand kills of the writer of images, two hundred of whole nights, and one that is served
#   make setup    .venv with the locked packages and the project itself
#   make texts    the sentence encoder as well, for text as a condition
#
# Another interpreter:        make setup PYTHON=/path/to/python3.12
# Another build of torch:     make setup TORCH_INDEX=https://download.pytorch.org/whl/cpu     (or …/cu130 and its kind)

PYTHON ?= $(shell command -v python3.11 || command -v python3)
TORCH_INDEX ?=

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
TEXTS := $(VENV)/.texts-installed

.DEFAULT_GOAL := help
.PHONY: help setup texts demo test test-postgresql fault check lint format lock clean

help:
	@sed -n 's/^#  *make/  make/p' Makefile

setup: $(STAMP)

$(STAMP): requirements.lock pyproject.toml
	@test -n "$(PYTHON)" || { echo "No python3.11 or python3 on PATH. Nothing was installed."; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "personalgen needs Python 3.11 or newer; $(PYTHON) is older. Run make setup PYTHON=/path/to/python3.11. Nothing was installed."; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX)) "$$(grep '^torch==' requirements.lock)"
	$(BIN)/python -m pip install --requirement requirements.lock
	$(BIN)/python -m pip install --no-deps --no-build-isolation --editable .
	@touch $@

texts: $(TEXTS)

$(TEXTS): requirements-text.lock $(STAMP)
	$(BIN)/python -m pip install --no-deps --requirement requirements-text.lock
	@touch $@

demo: setup
	$(BIN)/personalgen nightly --config configs/demo.toml

# A process per core, each with whole files: what a file sets up is set up once. Files and tests come in an order drawn
# from SEED, so that a failure comes again; another order: make test SEED=2.
SEED := 1
APART := --numprocesses logical --maxprocesses 8 --dist loadfile --no-loadscope-reorder --randomly-seed $(SEED)

test: setup texts
	$(BIN)/python -m pytest $(APART)

test-postgresql: setup texts
	$(BIN)/python -m pytest --catalogue postgresql $(APART)

# The tests kill the writer 50 times (TESTS_KILLS) and nights 4 times (TESTS_NIGHT_KILLS). Cut short,
# the second one goes on where its log ends; remove build/nights_killed to begin anew.
fault: setup
	$(BIN)/python -m benchmarks.kills --kills 1000
	OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 $(BIN)/python -m benchmarks.nights_killed --kills 200
	TESTS_SILENCE=1 $(BIN)/python -m pytest tests/flows/test_serve.py -q

lint: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

check: lint
	@$(MAKE) --no-print-directory test

format: setup
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# After installing other versions into .venv: write down what is there.
lock:
	$(BIN)/python -m tools.write_lock
	$(BIN)/python -m tools.write_third_party
	@touch $(STAMP)

# Caches and build leftovers only. Never .venv, data/, mlflow.db or the trainings in build/.
clean:
	rm -rf build/lib build/bdist.* dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find personalgen flows tools benchmarks tests -name __pycache__ -type d -prune -exec rm -rf {} +
