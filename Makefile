# Every target sets itself up: all that is needed is Python >= 3.11 with venv, and the network.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

# --inexact keeps uv itself, which the lock file does not name. Compiled bytecode makes every start
# faster, also where Python is told not to write any.
SYNC = UV_PROJECT_ENVIRONMENT=$(VENV) $(BIN)/uv sync --locked --inexact --compile-bytecode --python $(BIN)/python

.PHONY: curve test test-slow fuzz lint explorer-check release-check docs docs-links clean

curve: $(VENV)/.synced-run
	mkdir -p output
	$(BIN)/ppiscs predict --element Au --zone 110 --voltage 300 --convergence 20 \
		--detector 60 200 --rmsd 0.085 --check 0.5% \
		--out output/au110_300kv.csv --plot output/au110_300kv.png

# Most of the time of the fast tests is compilation, which takes a third less without most of the
# optimisations of the compiler. The long tests run with them.
test: $(VENV)/.synced-dev
	JAX_DISABLE_MOST_OPTIMIZATIONS=1 $(BIN)/python -m pytest -m "not slow" -n 2 --dist loadfile --no-loadscope-reorder

test-slow: $(VENV)/.synced-dev
	$(BIN)/python -m pytest -m slow

# Damaged files for every reader: see SECURITY.md.
INPUTS ?= 20000
SEED ?= 0

fuzz: $(VENV)/.synced-dev
	$(BIN)/python -m tests.fuzz --inputs $(INPUTS) --seed $(SEED)

lint: $(VENV)/.synced-dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

# The site, in output/docs. Its code is run; warnings and failing cells fail the build.
docs: $(VENV)/.synced-docs
	$(BIN)/python -m sphinx -b html -W --keep-going docs output/docs

# Links of the site to other sites; needs the network. Links inside the site are checked by `docs`.
docs-links: $(VENV)/.synced-docs
	$(BIN)/python -m sphinx -b linkcheck -D nb_execution_mode=off -D suppress_warnings=docutils docs output/docs-links

# The explorer page in Chromium: speed, console, accessibility, screenshots in output/explorer.
# Needs Node with npm, and Chromium (CHROMIUM=path).
CHROMIUM ?= /usr/bin/chromium
NODE_MODULES = output/explorer/node_modules

explorer-check: $(VENV)/.synced-run
	mkdir -p output/explorer
	npm install --silent --no-save --prefix output/explorer playwright-core@1.65.1 axe-core@4.14.1
	$(BIN)/ppiscs explore --no-open --out output/explorer/page.html
	CHROMIUM=$(CHROMIUM) node tests/explorer/browser.mjs output/explorer/page.html output/explorer $(NODE_MODULES)

# Wheel and sdist, installed and used in clean environments of each Python.
PYTHONS ?= 3.11 3.12 3.13

release-check: | $(BIN)/uv
	UV=$(abspath $(BIN)/uv) .ci/release-check output/release $(PYTHONS)

clean:
	rm -rf $(VENV) output

$(BIN)/uv:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv

# Stamps: sync again only when what is to be installed has changed.
$(VENV)/.synced-run: pyproject.toml uv.lock | $(BIN)/uv
	$(SYNC) --no-default-groups
	touch $@

$(VENV)/.synced-dev: pyproject.toml uv.lock | $(BIN)/uv
	$(SYNC) --group dev --extra networks --extra campaigns
	touch $@

$(VENV)/.synced-docs: pyproject.toml uv.lock | $(BIN)/uv
	$(SYNC) --no-default-groups --group docs --extra networks
	touch $@
