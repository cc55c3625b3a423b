# The two commands: `make demo` and `make test`. Both set up what they need in .venv.

VENV   := .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip --disable-pip-version-check -q
# Folders too: where a file was deleted or renamed, nothing but its folder is newer.
SOURCE := $(shell find netslo dashboards slo probes analytics examples -not -path '*/__pycache__*')

.DEFAULT_GOAL := help
.PHONY: help demo test side-by-side quiet packages lint bench lock clean
.NOTPARALLEL:  # two pips would write the same environment

help:  ## Say what there is
	@sed -nE 's/^([a-z]+):.*## (.*)/  make \1\t\2/p' $(MAKEFILE_LIST)

demo: $(VENV)/.wheel  ## Set up, then measure nine emulated UK sites for three minutes
	$(BIN)/netslo demo $(ARGS)

ifdef ARGS
test: $(VENV)/.dev $(VENV)/.wheel packages
	$(BIN)/pytest $(ARGS)
else
test: side-by-side quiet  ## Set up, then run all tests against the built wheel
endif

packages:
	@tests/support/system_packages.sh

side-by-side: $(VENV)/.dev $(VENV)/.wheel packages
	$(BIN)/pytest $(SIDE_BY_SIDE) -m "not quiet" || $(call ALONE,"not quiet")
# Many tests wait for real time to pass: four files at a time keep two cores busy.
SIDE_BY_SIDE := -n 4 --dist loadfile --no-loadscope-reorder

quiet: $(VENV)/.dev $(VENV)/.wheel packages
	$(BIN)/pytest -m quiet $(QUIET) || $(call ALONE,quiet)
# Nothing else runs meanwhile: no module is imported that has none of them.
QUIET = $(shell grep -rl --include='test_*.py' 'mark\.quiet' tests)
# Real servers and real time on a machine that others use: what failed has to pass by itself, at the
# first go, and both results stay on the screen. Whatever else ended the first run ends it here.
ALONE = { [ $$? = 1 ] && echo "Once more, alone, what failed above:" && \
	$(BIN)/pytest -v -x --last-failed --last-failed-no-failures none -m $(1); }

lint: $(VENV)/.dev $(VENV)/.wheel  ## Style, types and the import contract
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(VENV)/.bench $(VENV)/.wheel  ## Measure beside named peers; prints figures, takes minutes
	@set -e; for script in benchmarks/*.py; do echo "== $$script"; \
	  case $$script in */engine.py) json="--json docs/engine/measured.json";; *) json=;; esac; \
	  $(BIN)/python $$script $$json; done

lock:  ## Resolve the dependencies again (needs uv)
	uv pip compile -q --upgrade pyproject.toml --all-extras --group build $(LOCK) -o requirements/runtime.txt
	uv pip compile -q pyproject.toml --extra probe -c requirements/runtime.txt $(LOCK) -o requirements/probe.txt
	uv pip compile -q pyproject.toml --extra probe --extra compiled -c requirements/runtime.txt $(LOCK) -o requirements/compiled.txt
	uv pip compile -q pyproject.toml --extra probe --extra compiled --extra analytics --extra dashboards -c requirements/runtime.txt $(LOCK) -o requirements/collector.txt
	uv pip compile -q --upgrade pyproject.toml --all-extras --group dev -c requirements/runtime.txt $(LOCK) -o requirements/dev.txt
	uv pip compile -q --upgrade pyproject.toml --all-extras --group bench -c requirements/runtime.txt $(LOCK) -o requirements/bench.txt
LOCK := --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-emit-find-links --no-header --no-annotate

clean:  ## Remove what was set up and built
	rm -rf $(VENV) dist

# The first interpreter that runs and is new enough; PYTHON=... chooses another.
$(VENV)/.made:
	@set -e; \
	for python in $(PYTHON) python3 python3.13 python3.12 python3.11; do \
	  if $$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then \
	    echo "Setting up $(VENV) with $$($$python --version)"; \
	    $$python -c 'import venv, ensurepip' >/dev/null 2>&1 || { \
	      echo "$$python has no venv module. On Debian or Ubuntu: sudo apt-get install python3-venv"; exit 2; }; \
	    rm -rf $(VENV); $$python -m venv $(VENV); touch $@; exit 0; \
	  fi; \
	done; \
	echo "netslo needs Python 3.11 or newer. On Debian or Ubuntu: sudo apt-get install python3 python3-venv"; exit 2

$(VENV)/.runtime: requirements/runtime.txt $(VENV)/.made
	@echo "Installing what netslo needs ..."
	@$(PIP) install --require-hashes -r $<
	@touch $@

$(VENV)/.dev: requirements/dev.txt $(VENV)/.runtime
	@echo "Installing what its tests need ..."
	@$(PIP) install --require-hashes -r $<
	@touch $@

$(VENV)/.bench: requirements/bench.txt $(VENV)/.runtime
	@echo "Installing the peers to measure against ..."
	@$(PIP) install --require-hashes -r $<
	@touch $@

$(VENV)/.installed: $(SOURCE) pyproject.toml README.md LICENSE $(VENV)/.runtime
	@rm -rf dist
	@$(PIP) wheel --no-build-isolation --no-deps -w dist .
	@$(PIP) install --no-deps --force-reinstall dist/netslo-*.whl
	@touch $@

# And its kernels compiled, once per machine: those of the probe take longest, beside all others.
$(VENV)/.wheel: $(VENV)/.installed
	@{ $(BIN)/python -P -m analytics.warm_up && $(BIN)/python -P -m slo.warm_up; } & \
	  $(BIN)/python -P -m probes.warm_up && wait $$!
	@touch $@
