# make demo and make test set up everything they need; the other targets do too.
# A system without uv gets it inside .venv; where that fails, pip installs the same versions.

VENV := .venv
PY := $(VENV)/bin/python
PYTHON ?= $(shell for p in python3 python3.12 python3.13 python3.11; do \
	$$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null \
	&& echo $$p && break; done)
STAMP := $(VENV)/.installed
# the build of PyTorch: cpu, cu130, … or standard, that of PyPI; of a .venv that is there, its own
INSTALLED := $(or $(shell cat $(VENV)/.torch 2>/dev/null),$(if $(wildcard $(STAMP)),standard))
TORCH ?= $(or $(INSTALLED),standard)
OTHER := $(filter-out standard,$(TORCH))
SAME_TORCH = test "$(TORCH)" = "$(or $(INSTALLED),$(TORCH))" || { echo "error: $(VENV) holds PyTorch's \
build $(INSTALLED); run make clean, then make venv TORCH=$(TORCH)"; exit 1; }
# what `make bench` runs, one after the other; of scaling: the price of a core-hour, a training run
BENCH := run limit allocator quantised seams scaling loader polygons_scaling
PRICE := 0.05
MODEL :=
export MLFLOW_TRACKING_URI ?= sqlite:///$(CURDIR)/output/mlflow.db

.PHONY: help venv setup demo demo-aerial test lint bench lock clean

help: ## list the targets
	@grep -E '^[a-z-]+:.*##' Makefile | sed 's/:.*##/ -/'

venv: $(STAMP) ## create .venv with exact versions; without a GPU: make venv TORCH=cpu
	@$(SAME_TORCH)

$(STAMP): requirements.txt requirements-dev.txt pyproject.toml
	@$(SAME_TORCH)
	@test -n "$(PYTHON)" || { echo "error: no Python 3.11 to 3.13 found; install one, or run make PYTHON=/path/to/python"; exit 1; }
	@test -x $(PY) || $(PYTHON) -m venv $(VENV)
	@$(PY) -m pip install --quiet --disable-pip-version-check uv || echo "uv cannot be had, pip does it"
	@# uv leaves compiling to the first import, which keeps nothing where PYTHONDONTWRITEBYTECODE is
	@# set (containers, CI): every process would compile torch and mlflow anew, for 20 s and more
	@# another build of PyTorch brings its own libraries, or none: the list names the standard's
	@for list in requirements requirements-dev; do \
		grep -vE '$(if $(OTHER),^(nvidia-|cuda-|triton),^$$)' $$list.txt > $(VENV)/$$list.txt; \
	done
	@if [ -x $(VENV)/bin/uv ]; then \
		$(VENV)/bin/uv pip install --quiet --compile-bytecode --python $(PY) $(if $(OTHER),--torch-backend $(TORCH)) \
			-r $(VENV)/requirements.txt -r $(VENV)/requirements-dev.txt && \
		$(VENV)/bin/uv pip install --quiet --python $(PY) --no-deps -e . ; \
	else \
		$(PY) -m pip install --quiet $(if $(OTHER),--extra-index-url https://download.pytorch.org/whl/$(TORCH)) \
			-r $(VENV)/requirements.txt -r $(VENV)/requirements-dev.txt && \
		$(PY) -m pip install --quiet --no-deps -e . ; \
	fi
	@echo $(TORCH) > $(VENV)/.torch
	@touch $@

setup: venv ## create output/mlflow.db with its experiments
	@$(PY) -m builtup setup

demo: setup ## the whole chain on simulated towns, with a report
	@$(PY) -m builtup demo

demo-aerial: setup ## the same from the air: orthomosaics with heights, six classes
	@$(PY) -m builtup demo --sensor aerial

test: venv ## run the tests
	@$(PY) -m pytest -n logical --maxprocesses 4 --dist loadfile

lint: venv ## ruff and mypy
	@$(VENV)/bin/ruff check .
	@$(VENV)/bin/ruff format --check .
	@$(VENV)/bin/mypy

bench: venv ## measure the claims of benchmarks/; some of them: make bench BENCH="seams limit"
	@status=0; for name in $(BENCH); do \
		echo "== benchmarks/$$name.py"; options=; \
		if [ $$name = scaling ]; then options="--price $(PRICE) $(if $(MODEL),--model $(MODEL))"; fi; \
		$(PY) benchmarks/$$name.py $$options || status=1; \
	done; exit $$status

lock: venv ## compile requirements*.txt anew from pyproject.toml
	@$(VENV)/bin/uv pip compile --quiet --universal --python-version 3.11 --no-emit-index-url \
		--no-annotate --custom-compile-command "make lock" pyproject.toml -o requirements.txt $(UPGRADE)
	@$(VENV)/bin/uv pip compile --quiet --universal --python-version 3.11 --no-emit-index-url \
		--no-annotate --custom-compile-command "make lock" -c requirements.txt --group dev \
		-o requirements-dev.txt $(UPGRADE)

clean: ## remove .venv and caches; input/ and output/ stay
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis benchmarks/.venvs
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
