# Two commands do all the set-up, in a virtual environment of their own: `make demo`, `make test`.
# Needs Python 3.11 or later and make, nothing else.

PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
PIP = $(BIN)/python -m pip install --quiet --disable-pip-version-check
UV_VERSION = 0.13.9
UV_THERE = $(VENV)/.uv-$(UV_VERSION)
UV = $(BIN)/uv --quiet
# Compiled at once: where PYTHONDONTWRITEBYTECODE is set, every process would do it again.
INSTALL = $(UV) pip install --compile-bytecode --python $(BIN)/python
LOCKED = $(INSTALL) --no-deps --require-hashes --requirement
COMPILE = $(UV) pip compile --upgrade --universal --generate-hashes --no-header
CLIENTS = $(VENV)/clients
TOOLS = $(VENV)/tools
# Where `make audit` looks vulnerabilities up: pypi or osv.
SERVICE ?= pypi
VERSION = $(shell sed -n 's/^__version__ = "\(.*\)"/\1/p' src/openwheel/__init__.py)
PYTHON_CLIENTS = $(patsubst tests/clients/requirements/%.txt,$(CLIENTS)/.%,$(wildcard tests/clients/requirements/*.txt))
# What one step waits for (the disk, the network, one core) leaves room for another.
PARALLEL = $(MAKE) --jobs=2 --no-print-directory

.PHONY: demo test evidence screenshots clients lint format lift audit sbom release clean

demo: $(VENV)/.installed
	$(BIN)/python examples/demo.py

test:
	@+$(PARALLEL) $(VENV)/.tested clients
	$(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder -rs

# The long form of all that `make test` looks at: hours. ONLY names some of its checks.
evidence:
	@+$(PARALLEL) $(VENV)/.tested clients
	$(BIN)/python benchmarks/evidence.py $(ONLY)

clients: $(PYTHON_CLIENTS) $(CLIENTS)/.node

lint:
	@+$(PARALLEL) $(VENV)/.tested
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy

format: $(VENV)/.tested
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

# Renews every lock but that of torch, whose version and dependencies are written by hand
# (requirements/torch.txt, pyproject.toml), and runs the tests.
lift: $(UV_THERE)
	$(COMPILE) pyproject.toml --output-file requirements/run.txt
	$(COMPILE) pyproject.toml --all-extras --constraint requirements/torch.txt \
		--constraint requirements/run.txt --no-emit-package torch --output-file requirements/test.txt
	for ray in "" "ray[client]"; do \
		echo "$$ray" | $(COMPILE) pyproject.toml - --no-annotate --constraint requirements/test.txt \
			--extra edge --extra objects --extra otel --extra postgres \
			--output-file requirements/image$${ray:+-ray}.txt || exit 1; \
	done
	for one in requirements/*.in tests/clients/requirements/*.in; do \
		$(COMPILE) $$one --python-version 3.11 --output-file $${one%.in}.txt || exit 1; \
	done
	cd tests/clients/node && npm install --package-lock-only --save-exact \
		--omit-lockfile-registry-resolved --no-audit --no-fund @anthropic-ai/sdk@latest openai@latest
	$(MAKE) test

# The pictures of the console in the docs; needs Chromium.
screenshots: $(VENV)/.tested
	$(BIN)/python examples/screenshots.py

# Looks what is locked up among the known vulnerabilities; needs a network that has them.
audit: $(VENV)/.tools
	$(BIN)/python requirements/vulnerabilities.py --program $(TOOLS)/bin/pip-audit --service $(SERVICE)

# What a release is: a wheel, the sources, and the list of the packages that they were tested with.
release: sbom
	$(UV) build --build-constraint requirements/build.txt --require-hashes --out-dir dist

# From an environment, which says what needs what and under which licence; the lock does not.
# cyclonedx-py validates what it writes.
sbom: $(VENV)/.tools
	@mkdir -p dist
	$(UV) venv --clear --python $(BIN)/python $(VENV)/sbom
	$(UV) pip install --python $(VENV)/sbom/bin/python --no-deps --require-hashes --requirement requirements/run.txt
	sed 's/^dynamic = .*/version = "$(VERSION)"/' pyproject.toml > $(VENV)/sbom/pyproject.toml
	$(TOOLS)/bin/cyclonedx-py environment --pyproject $(VENV)/sbom/pyproject.toml --mc-type application \
		--output-reproducible --validate --output-file dist/openwheel-$(VERSION).cdx.json $(VENV)/sbom

clean:
	rm -rf $(VENV) dist demo-output* evidence-output

$(VENV)/.created:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Openwheel needs Python 3.11 or later, this is " + sys.version.split()[0])'
	@echo "Making a virtual environment in $(VENV)"
	@$(PYTHON) -m venv $(VENV)
	@touch $@

$(UV_THERE): | $(VENV)/.created
	@$(PIP) uv==$(UV_VERSION)
	@touch $@

$(VENV)/.installed: requirements/run.txt requirements/build.txt pyproject.toml | $(UV_THERE)
	@echo "Installing Openwheel"
	@$(LOCKED) requirements/run.txt
	@$(INSTALL) --no-deps --build-constraint requirements/build.txt --editable .
	@touch $@

$(VENV)/.libraries: requirements/test.txt $(VENV)/.installed
	@echo "Installing what the tests need"
	@$(LOCKED) requirements/test.txt
	@touch $@

# By pip, which on some machines finds it on disk, where its settings say. Without its dependencies,
# so that it can be installed while the rest is.
$(VENV)/.torch: requirements/torch.txt | $(VENV)/.created
	@echo "Installing torch (a minute the first time)"
	@$(PIP) --no-deps --requirement $<
	@touch $@

# Some builds of torch need more than is locked; the CPU build does not.
$(VENV)/.tested: $(VENV)/.libraries $(VENV)/.torch
	@$(PIP) --requirement requirements/torch.txt
	@touch $@

# The client libraries that the gateway is tested with exclude one another's versions, so each has
# an environment of its own, exactly as its file pins it.
$(PYTHON_CLIENTS): $(CLIENTS)/.%: tests/clients/requirements/%.txt | $(UV_THERE)
	@echo "Installing the $* client for the tests"
	@$(UV) venv --clear --python $(BIN)/python $(CLIENTS)/$*
	@$(UV) pip install --compile-bytecode --python $(CLIENTS)/$*/bin/python --no-deps --require-hashes --requirement $<
	@touch $@

$(VENV)/.tools: requirements/tools.txt | $(UV_THERE)
	@echo "Installing pip-audit and cyclonedx-py"
	@$(UV) venv --clear --python $(BIN)/python $(TOOLS)
	@$(UV) pip install --python $(TOOLS)/bin/python --no-deps --require-hashes --requirement $<
	@touch $@

# Without Node.js no stamp is left, so that it is looked for again; the tests say that they skip.
$(CLIENTS)/.node: tests/clients/node/package.json tests/clients/node/package-lock.json | $(VENV)/.created
	@if command -v npm >/dev/null; then \
		echo "Installing the Node clients for the tests" && mkdir -p $(CLIENTS)/node && \
		cp $^ $(CLIENTS)/node/ && \
		npm ci --prefix $(CLIENTS)/node --ignore-scripts --no-audit --no-fund --loglevel=error && \
		touch $@; \
	fi
