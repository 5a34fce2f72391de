# `make demo` and `make test` do their whole set-up on a fresh machine that has Python 3.11 or 3.12 (with venv) and make.
PYTHON ?= python3.11
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: help install demo test lint doc clean

help:
	@echo "make demo     train, evaluate and print a table in the miniature world (set-up included)"
	@echo "make test     run the tests (set-up included)"
	@echo "make lint     run the linter and the type checker"
	@echo "make doc      build these pages in build/doc, with warnings as errors"
	@echo "make install  only the set-up, in $(VENV)"

install: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	@command -v $(PYTHON) >/dev/null || { \
	  echo "error: $(PYTHON) not found. Install Python 3.11 or 3.12 (or: conda env create -f conda/environment.yml)," ; \
	  echo "       or name one: make PYTHON=/path/to/python3.11 ..." ; exit 1 ; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] not in [(3, 11), (3, 12)])' || { \
	  echo "error: $(PYTHON) is neither Python 3.11 nor 3.12: clapper needs 3.11, and Bob a numpy that 3.13 has not" ; exit 1 ; }
	@echo "==> installing into $(VENV) (about 3 minutes and 7 GB: torch brings its CUDA libraries)"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --constraint constraints.txt "setuptools<81"
	$(BIN)/pip install --quiet --constraint constraints.txt --editable ".[test,experiments,deploy,doc]"
	@touch $@

demo: $(STAMP)
	$(BIN)/python experiments/demo.py

# two processes, each with one thread: more threads a process would wait for one another
test: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile $(PYTEST_OPTIONS)

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

doc: $(STAMP)
	rm -rf doc/api doc/outputs
	OMP_NUM_THREADS=1 PYTHONWARNINGS=ignore $(BIN)/python -m sphinx -W --keep-going -q doc build/doc

clean:
	rm -rf $(VENV) build dist doc/api doc/outputs *.egg-info .pytest_cache .mypy_cache .ruff_cache
