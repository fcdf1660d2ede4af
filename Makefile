# Everything happens in .venv, which is made when it is first needed.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# A file of constraints/ to install with; empty: the newest packages that fit.
CONSTRAINTS ?=

.PHONY: help quickstart install test test-slow test-gpu benchmark reproduce notebook docs lint format clean
.DEFAULT_GOAL := help

help:  ## show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 14

$(VENV)/installed: pyproject.toml $(CONSTRAINTS)
	$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed, this is " + sys.version.split()[0]) if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet $(addprefix -c ,$(CONSTRAINTS)) -e '.[dev]'
	touch $@

$(VENV)/docs-installed: $(VENV)/installed
	$(BIN)/python -m pip install --quiet $(addprefix -c ,$(CONSTRAINTS)) -e '.[docs]'
	touch $@

install: $(VENV)/installed  ## create the environment and install the project; CONSTRAINTS=constraints/newest.txt: tested versions

quickstart: install  ## train a target on real images and attack it with SecMI_stat and SecMI_NN (minutes)
	$(BIN)/python -m secmi_exp +attack=nn dataset=digits

# Modules are compiled once, not by each of the processes that tests start.
test: install  ## run the tests (minutes); two at a time, one thread each
	PYTHONDONTWRITEBYTECODE= OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile

test-slow: install  ## run the tests marked slow
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m slow

test-gpu: install  ## run the tests marked gpu, where CUDA is
	$(BIN)/python -m pytest -m gpu

benchmark: install  ## measure speed and memory against the published procedure (half an hour on two cores)
	$(BIN)/python -m experiments.benchmarks

reproduce: install  ## run the experiments of experiments/README.md again and renew it (four hours on two cores)
	$(BIN)/python -m experiments.reproduce

notebook: install  ## execute examples/audit.ipynb and write its outputs into it (minutes)
	cd examples && PYTHONWARNINGS=ignore TQDM_DISABLE=1 ../$(BIN)/jupyter-execute --inplace audit.ipynb

docs: $(VENV)/docs-installed  ## build the documentation into site/; a broken link is an error
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build

lint: install  ## check style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: install  ## put the code into the project's format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:  ## remove the environment and caches; outputs/ stays
	rm -rf $(VENV) build dist site .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
