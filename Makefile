# `make demo` and `make test` do all their set-up themselves; a second run is quick.
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
# Two stamps: who only looks at the demo does not wait for the tools of those who change the code.
RUN := $(VENV)/.installed-run
DEV := $(VENV)/.installed-dev

help:  ## Show what there is to run
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-8s %s\n", $$1, $$2}' | sed 's/:.*  /  /'

demo: $(RUN)  ## Simulated traffic and attacks through the whole flow, then a scoreboard
	$(VENV)/bin/gatewatch demo

# The two halves run side by side: one waits for Kafka while the other computes. What the first says comes last. The test
# of faults and the slow ones come after the quick ones: those with Kafka take as long as all three.
test: $(DEV)  ## All tests, with a real Kafka
	@log=$$(mktemp); quick=0; slow=0; \
	$(PY) -m pytest -q -p no:cacheprovider -m "kafka and not chaos" > "$$log" 2>&1 & pid=$$!; \
	$(PY) -m pytest -q -m "not kafka and not slow" || quick=1; \
	$(PY) -m pytest -q -p no:cacheprovider -m chaos || quick=1; \
	$(PY) -m pytest -q -p no:cacheprovider -m "slow and not kafka and not chaos" || quick=1; \
	wait $$pid || slow=1; \
	cat "$$log"; rm -f "$$log"; \
	exit $$(( quick + slow ))

quick: $(DEV)  ## Tests that need no Kafka and are short
	$(PY) -m pytest -q -m "not kafka and not slow"

check: $(DEV)  ## Formatting, lint, types, order of rooms
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/ruff check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports

bench: $(DEV)  ## Benchmarks, beside the limit and a lean loop
	$(PY) benchmarks/run.py

# Each round has a seed of its own, which is printed: make chaos CHAOS="--seed 7 --minutes 60"
CHAOS ?= --minutes 30
chaos: $(DEV)  ## Faults on a real broker, round after round: kills, zombies, storms, a broker that dies
	$(PY) -m gatewatch.testing.chaos $(CHAOS)

SOAK ?= --minutes 60
soak: $(DEV)  ## An hour of load with faults: memory, files, threads and lag stay flat: make soak SOAK="--minutes 10"
	$(PY) -m gatewatch.testing.chaos.soak $(SOAK)

evaluate: $(DEV)  ## All evaluations on real and simulated data, into docs/evaluation.md (15 minutes)
	$(PY) evaluation/everything.py

# FUZZ="--inputs 10000 --seed 7" for less, or other, of it
FUZZ ?= --inputs 1000000
fuzz: $(DEV)  ## A million hostile inputs for everything that reads what others wrote (ten minutes)
	$(PY) -m tests.fuzz $(FUZZ)

# Not in `make test`: the proxy takes minutes to install.
litellm: $(RUN)  ## A real LiteLLM proxy, from its log to a refused key (755 MB into build/litellm)
	$(PYTHON) -m venv build/litellm
	build/litellm/bin/python -m pip install --quiet 'litellm[proxy]==1.108.7'
	$(PY) deploy/gateways/litellm/try_it.py $(CURDIR)/build/litellm/bin/litellm

docs: $(RUN)  ## Write again what is made from the code (docs/metrics.md, docs/alerts.md, blind spots in deploy/gateways)
	$(PY) -m gatewatch.metrics > docs/metrics.md
	$(PY) -m gatewatch.testing.alerts_page docs
	$(PY) -m gatewatch.testing.recipes

sbom:  ## What users install, with versions and licences, as CycloneDX: build/sbom.json
	$(PYTHON) -m venv --clear build/installed
	build/installed/bin/python -m pip install --quiet --upgrade 'pip>=25.1'
	build/installed/bin/python -m pip install --quiet .
	$(PYTHON) -m venv build/tools
	build/tools/bin/python -m pip install --quiet --upgrade 'pip>=25.1'
	build/tools/bin/python -m pip install --quiet --group audit
	build/tools/bin/cyclonedx-py environment --pyproject pyproject.toml --output-reproducible -o build/sbom.json build/installed/bin/python

audit: sbom  ## Known vulnerabilities of what users install; needs PyPI's own index, mirrors have none
	build/tools/bin/pip-audit --strict --path "$$(build/installed/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')"

setup: $(DEV)  ## Only make the virtual environment, with all tools

clean:  ## Remove the virtual environment and caches
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build dist

$(PY):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	  || { echo "Gatewatch needs Python 3.11 or newer, and '$(PYTHON)' is not: make PYTHON=/path/to/python3.11"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null \
	  || { echo "'$(PYTHON)' cannot make virtual environments: on Debian and Ubuntu, apt-get install python3-venv"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(PY) -m pip install --quiet --upgrade 'pip>=25.1'  # older ones know no --group

$(RUN): $(PY) pyproject.toml hatch_build.py
	$(PY) -m pip install --quiet --editable .
	touch $@

$(DEV): $(RUN)
	$(PY) -m pip install --quiet --editable . --group test --group check --group notebook
	touch $@

.PHONY: help demo test quick check bench chaos soak evaluate fuzz litellm docs sbom audit setup clean
