PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
READY := .venv/.ready

.PHONY: help setup demo unit test slow coverage mutation bench faults soak check lint clean

help:  ## Say what there is
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

setup: $(READY)  ## Install everything into .venv (once; about 3 minutes, 7 GB)

# The stamp is written last, so that an interrupted installation is done again.
$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "irgen needs Python 3.11 or later, $(PYTHON) is older: make setup PYTHON=/path/to/python3.11"; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@touch $@

demo: $(READY)  ## Build the miniature dataset, from drawn scenes to the report (9 to 10 minutes)
	$(BIN)/irgen run manifests/miniature.yaml --lanes 2

unit: $(READY)  ## Run the tests that start no server and no browser, kill nothing and need no data beside the checkout
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile -m "not (slow or server or browser or s3 or faults or shared)"

test: $(READY)  ## Run the tests
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

slow: $(READY)  ## Run the tests that `make test` leaves out: a browser, kill -9 under a server, Ray where it is installed
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder -m slow

coverage: $(READY)  ## Run the tests and say which lines of irgen none of them reaches; under 90 % it fails
	$(BIN)/coverage erase
	OMP_NUM_THREADS=1 $(BIN)/coverage run -m pytest -n 2 --dist loadfile --no-loadscope-reorder
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report

mutation: $(READY)  ## Change one operator at a time in search, store and metrics, and say which change no test notices
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.mutation

bench: $(READY)  ## Measure speed against peers and limits, and compare with the committed results (10 minutes)
	$(BIN)/python benchmarks/bench.py

lint: $(READY)  ## Check style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

faults: $(READY)  ## Break everything that can be broken, and write what came of it into docs/reliability.md (about 15 minutes)
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.faults

soak: $(READY)  ## Kill writers at random moments, 200 times
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.faults soak

check: lint test  ## Check style and types, run the tests; continuous integration also runs `make slow`

clean:  ## Remove the environment and all built datasets; data/raw stays
	rm -rf .venv
	find data -mindepth 1 -maxdepth 1 -type d ! -name raw -exec rm -rf {} +
