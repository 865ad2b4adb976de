# `make demo` and `make test` do all their set-up themselves; a second run is quick.
.DEFAULT_GOAL := help
VENV := .venv
PY := $(VENV)/bin/python
STAMP := $(VENV)/.installed

help:  ## Show what there is to run
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

$(STAMP): pyproject.toml hatch_build.py
	test -x $(PY) || python3 -m venv $(VENV)
	$(PY) -m pip install --quiet --upgrade pip
	$(PY) -m pip install --quiet --editable . --group test --group check --group notebook
	touch $@

setup: $(STAMP)  ## Make the virtual environment

demo: $(STAMP)  ## Simulated traffic and attacks through the whole flow, then a scoreboard
	$(VENV)/bin/gatewatch demo

test: $(STAMP)  ## All tests, with a real Kafka
	$(PY) -m pytest -q

quick: $(STAMP)  ## Tests that need no Kafka and are short
	$(PY) -m pytest -q -m "not kafka and not slow"

check: $(STAMP)  ## Formatting, lint, types, order of rooms
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/ruff check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports

bench: $(STAMP)  ## Benchmarks, beside the limit and a lean loop
	$(PY) benchmarks/run.py

.PHONY: help setup demo test quick check bench
