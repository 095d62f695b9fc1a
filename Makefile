# make run      set up what is missing, then start the app
# make test     set up what is missing, Chromium included, then pass every test
# make check    what CI demands: lint, types, import direction, tests
# On Windows without make, the README gives the plain commands these stand for.

PYTHON ?= python3
VENV := .venv
ifeq ($(OS),Windows_NT)
PY := $(VENV)/Scripts/python.exe
else
PY := $(VENV)/bin/python
endif

.PHONY: run test check lint types format clean

run: $(VENV)/.run
	$(PY) app.py

test: $(VENV)/.dev
	$(PY) tests/install_chromium.py
	$(PY) -m pytest

check: lint types test

lint: $(VENV)/.dev
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(VENV)/bin/lint-imports

types: $(VENV)/.dev
	$(PY) -m mypy

format: $(VENV)/.dev
	$(PY) -m ruff check --fix .
	$(PY) -m ruff format .

$(PY):
	$(PYTHON) -c "import sys; sys.exit('medlora needs Python 3.11 or newer, this is ' + sys.version.split()[0] if sys.version_info < (3, 11) else 0)"
	$(PYTHON) -m venv $(VENV)

# The stamps make a second start take seconds: pip runs again only when a list of packages changed.
$(VENV)/.run: requirements.txt | $(PY)
	$(PY) -m pip install --disable-pip-version-check -r requirements.txt
	@touch $@

$(VENV)/.dev: requirements-dev.txt requirements.txt | $(PY)
	$(PY) -m pip install --disable-pip-version-check -r requirements-dev.txt
	@touch $@ $(VENV)/.run

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
