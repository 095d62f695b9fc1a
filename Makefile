# make run      set up what is missing, then start the app
# make test     set up what is missing, Chromium included, then pass every test
# make check    what CI demands: lint, types, import direction, tests
# make audit    known vulnerabilities of what is installed, and sbom.json; apart, since it changes from day to day
# Without make: start.bat and start.command do what `make run` does; the README gives the plain commands.

PYTHON ?= python3
VENV := .venv
ifeq ($(OS),Windows_NT)
PY := $(VENV)/Scripts/python.exe
else
PY := $(VENV)/bin/python
endif

.PHONY: run test check audit lint types format clean

run: $(VENV)/.run
	$(PY) app.py

test: $(VENV)/.dev
	$(PY) tests/install_chromium.py
	$(PY) -m pytest -n 2 --dist loadfile --ignore tests/browser
	$(PY) -m pytest tests/browser

check: lint types test

# Tools of its own environment, so that they never change what they look at.
AUDIT := .venv-audit
audit: $(VENV)/.run $(AUDIT)/.done
	$(AUDIT)/bin/cyclonedx-py environment $(PY) --pyproject pyproject.toml --output-reproducible -o sbom.json
	$(AUDIT)/bin/pip-audit --progress-spinner off --path "$$($(PY) -c 'import sysconfig; print(sysconfig.get_path("purelib"))')"

$(AUDIT)/.done: requirements-audit.txt
	$(PYTHON) -m venv $(AUDIT)
	$(AUDIT)/bin/python -m pip install --disable-pip-version-check -q -r requirements-audit.txt
	@touch $@

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
	rm -rf $(VENV) .venv-audit sbom.json .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
