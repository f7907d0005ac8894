# Everything that is done here, by name. 'make help' lists it.
SHELL := bash
VENV ?= .venv
PYTHON := $(VENV)/bin/python
LINTED := ds2prof parsers tests benchmarks scripts deploy docs train_profiling.py
SHELLS := run_profile.sh scripts/*.sh profilers/*.sh profilers/common.bash deploy/*.sh deploy/slurm/*.sbatch \
	deploy/slurm/common.bash .ci/run
# Tests start ds2prof hundreds of times: without its bytecode each start would compile it anew.
unexport PYTHONDONTWRITEBYTECODE
# Test workers share the cores; training in them must not also start a thread on each.
test test-long quick: export OMP_NUM_THREADS := 1

.PHONY: help environment test test-long quick lint format packaging benchmark docs man fuzz proof-train proof-presets clean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

environment:  ## make or refresh the private environment that the other targets use
	@scripts/environment.sh "$(VENV)" train,fast,report,test,lint

test: environment  ## lint, types, then all tests; ends with the count of those skipped
	@$(MAKE) --no-print-directory lint
	@$(PYTHON) -m pytest -n 2 --dist worksteal -q -m "not long"

test-long: environment  ## the further variants of slow tests that `make test` leaves out
	@$(PYTHON) -m pytest -n 2 --dist worksteal -q -m long

quick: environment  ## the tests without packaging, training runs and notebooks
	@$(PYTHON) -m pytest -n 2 -q -m "not slow"

lint: environment  ## ruff, shellcheck, hadolint, and mypy --strict on ds2prof and parsers
	@$(PYTHON) -m ruff check --quiet $(LINTED) && $(PYTHON) -m ruff format --quiet --check $(LINTED)
	@$(VENV)/bin/shellcheck -x $(SHELLS)
	@$(VENV)/bin/hadolint deploy/Dockerfile.cpu deploy/Dockerfile.gpu
	@scripts/types.sh "$(VENV)"

format: environment  ## rewrite the code in the project's format
	@$(PYTHON) -m ruff check --quiet --fix $(LINTED); $(PYTHON) -m ruff format $(LINTED)

packaging: environment  ## prove the wheel, the sdist, the editable install and the bare checkout
	@$(PYTHON) -m pytest -q tests/test_packaging.py

benchmark: environment  ## readers and commands against what bounds them and against peers (HTA=VENV/bin/python: that too)
	@$(PYTHON) benchmarks/readers.py
	@echo; $(PYTHON) benchmarks/commands.py
	@echo; $(PYTHON) benchmarks/sqlite_exports.py
	@echo; $(PYTHON) benchmarks/ledger_5m.py
	@echo; $(PYTHON) benchmarks/report_page.py
	@echo; $(PYTHON) -m benchmarks.compare_power
	@echo; $(PYTHON) benchmarks/ancestor_training.py
	@echo; $(PYTHON) benchmarks/peers_kineto.py $(if $(HTA),--hta "$(HTA)" --peer-mb 227)

docs: environment  ## the documentation site, into build/site/index.html
	@$(PYTHON) -m sphinx -W --keep-going -q -d build/doctrees docs build/site

man: environment  ## the manual pages of all commands, into build/man
	@$(PYTHON) -m ds2prof man -o build/man

fuzz: environment  ## feed a parser damaged files: make fuzz MINUTES=10 PARSER=ncu_csv (or PARSER=all, one after another)
	@scripts/environment.sh "$(VENV)" fuzz
	@$(PYTHON) tests/fuzz/run.py --parser "$(or $(PARSER),all)" --minutes "$(or $(MINUTES),10)" $(FUZZ_OPTIONS)

proof-train: environment  ## tiny learns speech in ten minutes, profiled or not, killed or not (docs/PROOF.md)
	@$(PYTHON) scripts/proof_train.py $(PROOF_OPTIONS)

proof-presets: environment  ## three profiled iterations of every preset (PRESETS="tbd rnnt": of those)
	@$(PYTHON) scripts/proof_presets.py $(PRESETS)

clean:  ## remove what the targets made, the environment too; measurements stay
	rm -rf "$(VENV)" build dist .lint .pytest_cache .mypy_cache .ruff_cache .hypothesis *.egg-info .fuzz benchmarks/data
