# Each target makes its own environment on first use. Needs Python 3.11 or newer, git and make.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: demo test lint docs bench torture clean

demo: $(READY)  ## the whole path, from a frozen promise to an audited report
	$(BIN)/vjepa-stress demo --out vjepa-stress-demo

test: $(READY)  ## all tests but the long ones
	$(BIN)/python -m pytest -m "not slow"

lint: $(READY)  ## style, strict types, import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: $(READY)  ## make again what is generated: JSON Schemas, figures and tables
	$(BIN)/python docs/make.py --demo

bench: $(READY)  ## measure what docs/measured holds
	$(BIN)/python -m tests.bench

torture: $(READY)  ## the long tests: many kills, every byte through the real commands
	$(BIN)/python -m pytest -m slow

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed, found " + sys.version)'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[run,dev]'
	touch $@

clean:
	rm -rf $(VENV) vjepa-stress-demo dist
