# `make` lists the targets. They create .venv on first use. Requires Python 3.11 or newer, git and make.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.DEFAULT_GOAL := help
.PHONY: help demo check format lint style types imports test docs bench gpu torture wheel clean

help:  ## show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-9s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(READY)  ## run the demo study: register, run, judge, report, audit (two minutes on two cores)
	$(BIN)/vjepa-stress demo --out vjepa-stress-demo

check: lint test  ## lint and test: every commit must pass

format: $(READY)  ## format the code and apply safe lint fixes
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

lint: style types imports  ## check style, types and import contracts

style: $(READY)  ## check lint rules and formatting, without changes
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(READY)  ## check static types (strict)
	$(BIN)/mypy

imports: $(READY)  ## check import contracts
	$(BIN)/lint-imports

test: $(READY)  ## run all tests except slow ones, in two processes (below 8 minutes on two cores)
	$(BIN)/python -m pytest -m "not slow" -n 2 --dist loadfile

torture: $(READY)  ## run slow tests: killed and stopped runs, full disks, double starts, flipped bits
	$(BIN)/python -m pytest -m slow

bench: $(READY)  ## run the benchmarks and write docs/measured/
	$(BIN)/python -m tests.bench

gpu: $(READY)  ## on a machine with a CUDA device: parity tests, and a benchmark that writes docs/measured/gpu.json
	$(BIN)/python -m pytest -k "cuda or gpu"
	$(BIN)/python -m tests.bench gpu

docs: $(READY)  ## regenerate JSON Schemas, figures and tables
	$(BIN)/python docs/make.py --demo

wheel: $(READY)  ## build the wheel, install it without extras in a new environment, and run it
	rm -rf dist
	$(BIN)/python -m build --no-isolation
	$(PYTHON) -m venv dist/env
	dist/env/bin/python -m pip install --quiet --constraint constraints.txt dist/*.whl
	cd dist && env/bin/vjepa-stress --help

clean:  ## remove what the targets created
	rm -rf $(VENV) vjepa-stress-demo dist

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is required, found " + sys.version)'
	@echo "creating $(VENV) and installing about 90 packages, once; torch alone is 200 MB or more ..."
	$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --constraint constraints.txt --editable '.[run,dev]' > $(VENV)/install.log 2>&1 & \
	  pid=$$!; last=; while kill -0 $$pid 2>/dev/null; do sleep 5; \
	  line=$$(tail -n 1 $(VENV)/install.log | cut -c 1-100); \
	  test "$$line" = "$$last" || echo "$$line"; last=$$line; done; \
	  wait $$pid || { cat $(VENV)/install.log; exit 1; }
	@echo "installed; the log is in $(VENV)/install.log"
	touch $@
