# `make` runs the main job, `make test` the tests; both set up what is missing.
# Needed: Python 3.11 or newer, make, a package index.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
CORES ?= all
export PATH := $(CURDIR)/$(BIN):$(PATH)

all: setup
	snakemake --cores $(CORES)

setup: $(VENV)/.done

# Everything that is installed is in the lock, with its hash; uv, which installs the rest, comes first.
# Bytecode is compiled once: without it every process pays seconds for its imports.
$(VENV)/.done: requirements.lock pyproject.toml setup.py
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] < (3, 11) and "mergesuite needs Python 3.11 or newer, this is " + sys.version.split()[0] + ": make PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)
	sed -n '/^uv==/,/[^\\]$$/p' requirements.lock > $(VENV)/uv.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $(VENV)/uv.lock
	$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes --compile-bytecode -r requirements.lock
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation -e .
	touch $@

# The workflow tests fill the cores by themselves: those of one file run one after another.
test: setup
	pytest tests --ignore=tests/workflow -n 2 --dist worksteal
	pytest tests/workflow -n 2 --dist loadfile

lint: setup
	ruff check
	ruff format --check
	basedpyright
	lint-imports
	snakefmt --check Snakefile workflow/rules
	snakemake --lint

# Resolves the dependencies of pyproject.toml anew.
lock: setup
	uv pip compile pyproject.toml --extra dev --extra cluster --upgrade --universal --python-version 3.11 \
		--generate-hashes --no-emit-index-url --no-emit-find-links --no-header --no-annotate \
		--quiet --output-file requirements.lock

# What is installed, for scanners: CycloneDX, made from the lock alone.
sbom: setup
	mkdir -p build
	cyclonedx-py requirements requirements.lock --pyproject pyproject.toml \
		--output-reproducible --output-file build/sbom.json

clean:
	rm -rf $(VENV) .snakemake .pytest_cache .ruff_cache .hypothesis .import_linter_cache build src/*.egg-info

.PHONY: all setup test lint lock sbom clean
