# Two commands need nothing but Python 3.11 and a package index:
#   make run    sends files of this machine through the pipeline and shows what was found
#   make test   runs the tests

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: run test lint types check bench clean

run: $(READY)
	$(BIN)/headrace scan --data .data/run $(or $(PATHS),$(shell $(BIN)/python -c 'import json; print(json.__path__[0])') /usr/bin/env /etc/hostname)
	@echo
	@echo "Next: make run PATHS='some folder'   scan your own files"
	@echo "      $(BIN)/headrace up             the whole service on http://127.0.0.1:8111/"

test: $(READY)
	$(BIN)/python -m pytest

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(READY)
	$(BIN)/mypy

check: lint types test

bench: $(READY)
	$(BIN)/python -m benchmarks

clean:
	rm -rf $(VENV) .data build dist

$(READY): pyproject.toml
	@$(PYTHON) -c "import sys; sys.exit(sys.version_info[:2] != (3, 11))" || { echo "Headrace needs Python 3.11; say where it is: make PYTHON=/path/to/python3.11"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	$(BIN)/python -m compileall -q headrace pipeline agents tables
	@touch $@
