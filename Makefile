# Kindling: make demo shows what a rendered project does; make test runs the tests. Both make their own environment.
PYTHON ?= python3
SHELL := /bin/bash
PIP := -m pip install --quiet --disable-pip-version-check -c constraints.txt
RENDERED := {{cookiecutter.project_slug}}
STARTERS := $(patsubst %/_baselines.py,%,$(wildcard $(RENDERED)/_starters/*/_baselines.py))
# What the starters need beside: a list and known-good versions in the folder of each.
REQUIREMENTS := $(wildcard $(STARTERS:=/_requirements.txt))
PINS := $(wildcard $(STARTERS:=/_constraints.txt))

.DEFAULT_GOAL := help
.PHONY: help demo test test-all chaos fuzz strangers lint docs clean python

help: ## Show what can be made
	@grep -E '^[a-z-]+:.*## ' Makefile | sed -E 's/:.*## /\t/' | expand -t 12

python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) or sys.version_info >= (3, 15))' || \
	  { echo "Kindling needs Python 3.11 to 3.14; PYTHON=$(PYTHON) is $$($(PYTHON) --version 2>&1). Try: make PYTHON=python3.12 …"; exit 2; }

.venv-demo/made: constraints.txt $(RENDERED)/constraints.txt | python
	@echo "== Making the environment .venv-demo"
	@rm -rf .venv-demo && $(PYTHON) -m venv .venv-demo
	@echo "== Installing cookiecutter"
	@.venv-demo/bin/python $(PIP) cookiecutter
	@touch $@

demo: .venv-demo/made ## Render the default project into demo/, train it on the digits, show where the results are
	@echo "== Rendering the default project into demo/my-project"
	@rm -rf demo && .venv-demo/bin/cookiecutter --no-input -o demo . > /dev/null
	@echo "== Installing it (PyTorch is large: some minutes the first time)"
	@.venv-demo/bin/python -m pip install --quiet --disable-pip-version-check -c demo/my-project/constraints.txt -e demo/my-project
	@echo "== Training: python train.py name=demo"
	@cd demo/my-project && ../../.venv-demo/bin/python train.py name=demo
	@echo "== Look at demo/my-project/runs/demo/plots/, then edit demo/my-project/my_project/models/cnn.py"
	@echo "   Use it: cd demo/my-project && . ../../.venv-demo/bin/activate"

.venv/made: constraints.txt $(RENDERED)/constraints.txt tests/requirements.txt $(REQUIREMENTS) $(PINS) | python
	@echo "== Making the environment .venv (some minutes the first time)"
	@rm -rf .venv && $(PYTHON) -m venv .venv
	@.venv/bin/python $(PIP) $(PINS:%=-c %) -r tests/requirements.txt $(REQUIREMENTS:%=-r %)
	@touch $@

# One test at a time is handed to a core: the longest come first, and one core would be given all of them.
test: .venv/made lint ## Run the tests: at most 10 minutes on 2 cores
	@echo "== Testing the generator and what it renders"
	@OMP_NUM_THREADS=1 .venv/bin/python -m pytest -n 2 --maxschedchunk 1 -m "not long"

# Three at once, so that there is work for each core while one waits for a disk or for a process that it has killed.
test-all: test ## Run the tests, then those that take longer
	@seed=$$((RANDOM + 1)); echo "== The long tests, SEED=$$seed"; \
	  OMP_NUM_THREADS=1 CHAOS_SEED=$$seed FUZZ_SEED=$$seed .venv/bin/python -m pytest -n 3 --maxschedchunk 1 -m long --durations=8

SEED ?= 0
KILLS ?= 200
chaos: .venv/made ## Kill KILLS trainings at random moments, from SEED, and compare what they end in bit by bit
	OMP_NUM_THREADS=1 CHAOS_KILLS=$(KILLS) CHAOS_SEED=$(SEED) .venv/bin/python -m pytest -n 2 -rP tests/test_chaos.py

CASES ?= 3000
fuzz: .venv/made ## Send CASES mutated configs through the checker, and as many hostile answers through the hooks, from SEED
	FUZZ_CASES=$(CASES) ANSWER_CASES=$(CASES) FUZZ_SEED=$(SEED) .venv/bin/python -m pytest -n 2 -rP tests/test_fuzz.py tests/test_answers.py

strangers: .venv/made ## Send CASES run folders that a stranger could make through every command, from SEED
	STRANGER_CASES=$(CASES) FUZZ_SEED=$(SEED) .venv/bin/python -m pytest -n 0 -rP tests/test_strangers.py

lint: .venv/made
	@.venv/bin/ruff check --no-cache tests benchmarks docs && .venv/bin/ruff format --no-cache --check tests benchmarks docs
	@.venv/bin/ruff check --no-cache --config pyproject.toml $(STARTERS:=/_baselines.py) && \
	  .venv/bin/ruff format --no-cache --check --config pyproject.toml $(STARTERS:=/_baselines.py)

docs: .venv/made ## Build the pages of docs/ into site/
	@.venv/bin/zensical build --strict && echo "== Open site/index.html"

clean: ## Remove what was made
	rm -rf .venv .venv-demo demo site .cache
