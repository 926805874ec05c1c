# make demo    the whole way on generated parts, into demo/, from nothing but Python and make
# make test    every test, real training and OpenVINO included
# make check   what a developer runs: format, lint, types, layers, spelling, fast tests
# make faults  let a station meet every fault of a factory; evidence goes to reports/bench
# make bench   race stock Anomalib; evidence goes to reports/bench
#
# VENV=path takes another virtual environment, PYTHON=path another Python (3.11 or newer).

PYTHON ?= python3
VENV ?= .venv
PIP := $(VENV)/bin/python -m pip install -c constraints.txt
RUN := $(VENV)/bin
CODE := inspection tests

.PHONY: demo test check lint bench faults clean

demo: $(VENV)/.train
	$(RUN)/inspection demo --out demo

# One process per part: torch, NNCF and OpenVINO of all tests in one process ended in a crash once.
PARTS := "tests/test_*.py tests/core tests/bundles tests/masks tests/metrics tests/data tests/generated" \
  "tests/station tests/report" tests/review tests/training tests/export tests/bench "tests/end_to_end tests/evidence"

test: $(VENV)/.dev
	@for part in $(PARTS); do $(RUN)/pytest $$part || exit 1; done

check: lint
	$(RUN)/pytest -q -m fast

lint: $(VENV)/.dev
	$(RUN)/ruff format --check $(CODE)
	$(RUN)/ruff check $(CODE)
	$(RUN)/mypy
	$(RUN)/lint-imports
	$(RUN)/codespell $(CODE) configs docs datasets README.md CHANGELOG.md reports

bench: $(VENV)/.dev
	$(RUN)/inspection bench coreset
	$(RUN)/inspection bench latency
	$(RUN)/inspection bench fit
	$(RUN)/inspection bench station
	$(RUN)/inspection bench refine

faults: $(VENV)/.dev
	$(RUN)/inspection bench faults

clean:
	rm -rf $(VENV) build *.egg-info .mypy_cache .pytest_cache .ruff_cache .import_linter_cache

# A stamp says that the environment fits; it is made anew when the project's needs change.
$(VENV)/.train: $(VENV)/.made pyproject.toml constraints.txt
	@echo "installing the project and its training extra (torch alone is some gigabytes)"
	$(PIP) -e ".[train]"
	@touch $@

$(VENV)/.dev: $(VENV)/.made pyproject.toml constraints.txt
	@echo "installing the project with its training and development extras"
	$(PIP) -e ".[dev]"
	@touch $@ $(VENV)/.train

$(VENV)/.made:
	@$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 11))" || \
	  { echo "$(PYTHON) is older than 3.11; name another: make PYTHON=python3.12"; exit 2; }
	@test -x $(VENV)/bin/python || $(PYTHON) -m venv $(VENV)
	@touch $@
