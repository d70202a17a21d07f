# `make quickstart` and `make test` need Python 3.11 or newer and a network that has the package registry.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
STAMP = $(VENV)/.harmonygen-installed

# Hundreds of short processes start in the tests: without this each compiles torch and the package again.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: quickstart test faults crash fuzz bench house docs lint clean install

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed, this is " + sys.version.split()[0] + ": run make PYTHON=python3.11" if sys.version_info < (3, 11) else 0)'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip --version >/dev/null 2>&1 || $(BIN)/python -m ensurepip --default-pip >/dev/null
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python --constraint constraints.txt --editable '.[dev]'
	@touch $@

install: $(STAMP)

quickstart: $(STAMP)
	$(BIN)/harmonygen quickstart --out quickstart

test: $(STAMP)
	$(BIN)/python -m pytest -n 2 --dist worksteal

faults: $(STAMP)
	$(BIN)/python benchmarks/faults

crash: $(STAMP)
	$(BIN)/python benchmarks/crash_states

fuzz: $(STAMP)
	$(BIN)/python benchmarks/fuzz

bench: $(STAMP)
	$(BIN)/python benchmarks

house:
	$(PYTHON) tests/house.py

docs: $(STAMP)
	$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python --constraint constraints.txt --editable '.[dev,docs]'
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

lint: $(STAMP)
	$(BIN)/ruff format --check . && $(BIN)/ruff check . && $(BIN)/mypy

clean:
	rm -rf quickstart outputs dist site
