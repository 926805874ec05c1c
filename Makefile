# make demo    the whole way on generated parts, into demo/, from nothing but Python and make
# make open    show that in a browser: hub, station and dashboard run on in the background
# make test    every test, real training and OpenVINO included
# make check   what a developer runs: format, lint, types, layers, spelling, fast tests
# make faults  let a station meet every fault of a factory; evidence goes to reports/bench
# make fuzz    send the hub and a station's port thousands of odd requests; evidence goes to reports/bench
# make screens take pictures of the dashboard's pages while its tests run; they go to reports/screens
# make bench   race stock Anomalib; evidence goes to reports/bench
#
# VENV=path takes another virtual environment, PYTHON=path another Python (3.11 or newer).

PYTHON ?= python3
VENV ?= .venv
PIP := $(VENV)/bin/python -m pip install -c constraints.txt
RUN := $(VENV)/bin
CODE := inspection apps tests

demo: $(VENV)/.train
	$(RUN)/inspection demo --out demo

open: $(VENV)/.train
	$(RUN)/inspection plant open --folder demo

# A process per part: torch, NNCF and OpenVINO of all tests in one process ended in a crash once. Three
# parts at a time: some compute, others wait for servers and clocks. torch has one thread in each, for
# two threads beside other processes wait for each other at every operation. Many tests talk to real
# servers, cameras and clocks: what fails is tried once more, and the summary names it (RERUN).
PARTS := export core station hub retraining review end_to_end browser bench training
test-core: TESTS := tests/test_*.py tests/core tests/bundles tests/detectors tests/masks tests/metrics tests/data tests/generated
test-station: TESTS := tests/station tests/report
test-training: TESTS := tests/training tests/pretraining tests/recognition tests/portability tests/compression
test-hub: TESTS := tests/hub tests/dashboard
test-end_to_end: TESTS := tests/end_to_end tests/evidence

.PHONY: demo open test $(PARTS:%=test-%) check lint bench faults fuzz screens clean

test: $(VENV)/.dev
	@$(MAKE) --no-print-directory --jobs=3 --keep-going --output-sync=target $(PARTS:%=test-%)

$(PARTS:%=test-%): test-%:
	@OMP_NUM_THREADS=1 $(RUN)/pytest --reruns=1 -raR --durations=12 --durations-min=4 $(or $(TESTS),tests/$*)

check: lint
	$(RUN)/pytest -q -m fast --numprocesses=2

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
	$(RUN)/inspection bench weights
	$(RUN)/inspection bench recognise
	$(RUN)/inspection bench frames
	$(RUN)/inspection bench compress
	$(RUN)/inspection bench engines
	$(RUN)/inspection bench parity
	$(RUN)/inspection bench hub
	$(RUN)/inspection bench thresholds
	$(RUN)/inspection bench drift
	$(RUN)/inspection bench update
	$(RUN)/inspection bench kill
	$(RUN)/inspection bench fleet
	$(RUN)/inspection bench beside
	$(RUN)/inspection bench month

faults: $(VENV)/.dev
	$(RUN)/inspection bench faults

fuzz: $(VENV)/.dev
	INSPECTION_FUZZ=20 $(RUN)/pytest tests/station/web/test_schema.py tests/hub/test_schema.py

screens: $(VENV)/.dev
	INSPECTION_SCREENS=reports/screens $(RUN)/pytest tests/browser

clean:
	rm -rf $(VENV) build *.egg-info .mypy_cache .pytest_cache .ruff_cache .import_linter_cache

# A stamp says that the environment fits; it is made anew when the project's needs change.
$(VENV)/.train: $(VENV)/.made pyproject.toml constraints.txt
	@echo "installing the project with all it runs on (torch alone is some gigabytes)"
	$(PIP) -e ".[train,station,hub,dashboard]"
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
