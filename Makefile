# `make` lists the targets. Each makes its own environment on first use. Needs Python 3.11 or newer, git and make.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.DEFAULT_GOAL := help
.PHONY: help demo check format lint style types imports test docs bench torture wheel clean

help:  ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-9s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(READY)  ## the whole path: register, run, judge, report, audit (a few minutes on two cores)
	$(BIN)/vjepa-stress demo --out vjepa-stress-demo

check: lint test  ## what a change must pass before it is committed

format: $(READY)  ## rewrite the code in the project's style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

lint: style types imports  ## style, strict types, import contracts

style: $(READY)  ## lint rules and formatting, nothing is changed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(READY)  ## strict static types
	$(BIN)/mypy

imports: $(READY)  ## which module may import which
	$(BIN)/lint-imports

test: $(READY)  ## all tests except the long ones (below 8 minutes on two cores)
	$(BIN)/python -m pytest -m "not slow"

torture: $(READY)  ## the long tests: many kills, flipped bits through the real commands
	$(BIN)/python -m pytest -m slow

bench: $(READY)  ## measure times and memory, and write docs/measured/
	$(BIN)/python -m tests.bench

docs: $(READY)  ## write the generated files again: JSON Schemas, figures, tables
	$(BIN)/python docs/make.py --demo

wheel: $(READY)  ## build the wheel, install it without extras in an environment of its own, and start it
	rm -rf dist
	$(BIN)/python -m build --no-isolation
	$(PYTHON) -m venv dist/env
	dist/env/bin/python -m pip install --quiet --constraint constraints.txt dist/*.whl
	cd dist && env/bin/vjepa-stress --help

clean:  ## remove what the targets made
	rm -rf $(VENV) vjepa-stress-demo dist

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed, found " + sys.version)'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[run,dev]'
	touch $@
