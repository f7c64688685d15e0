# One environment for everything, built from the constraints on first use; `make help` lists the targets.
# The newest has the plain .venv, each other one an environment of its own beside it.
NEWEST := 3.3
AIRFLOW := $(NEWEST)
CONSTRAINTS := constraints/airflow-$(AIRFLOW).txt
VENV := .venv$(if $(filter-out $(NEWEST),$(AIRFLOW)),-$(AIRFLOW))
BIN := $(VENV)/bin
WORKERS := 4
STAMP := $(VENV)/stamp-$(AIRFLOW)
# What failed last is remembered for each environment: ARGS=--last-failed runs that alone.
ARGS :=
# AGAIN=1 runs system tests that failed once more, on their own: on two cores LocalExecutor and SQLite can get into
# each other's way. The first failure stays in the output.
AGAIN :=
PYTEST := $(BIN)/python -m pytest --durations=15 --durations-min=1 -o cache_dir=$(VENV)/.pytest_cache $(ARGS)
FAILED_ONCE_MORE = $(if $(AGAIN),|| { echo "System tests failed (see above). Once more:"; $(PYTEST) --last-failed \
  --last-failed-no-failures none tests/system; })
# A pyenv shim answers `command -v` for versions that are not active, so each candidate is run.
PYTHON = $(firstword $(foreach p,python3.11 python3.12 python3.13 python3,$(shell $(p) -c \
  'import sys, venv, ensurepip; print("$(p)" if sys.version_info >= (3, 11) else "")' 2>/dev/null)))

.DEFAULT_GOAL := help
.PHONY: help demo test test-unit test-system test-each-row test-each-version test-airflow kill-paths lint format clean

help:  ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## */\t/' | expand -t 16

$(STAMP): pyproject.toml $(CONSTRAINTS)
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed" >&2; exit 1; }
	@echo "Building $(VENV) with $(PYTHON): two minutes or so, the first time"
	rm -rf $(VENV)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -qq --disable-pip-version-check -c $(CONSTRAINTS) -e '.[cli,dev]'
	@touch $@

demo: $(STAMP)  ## run the stories on a real Airflow and the sandbox; KEEP=1 leaves the UI up
	$(BIN)/python -m demo $(if $(KEEP),--keep)

test: lint test-unit test-system  ## all of it with the newest Airflow; half an hour and more

test-unit: $(STAMP)  ## unit tests against the sandbox
	$(PYTEST) -n $(WORKERS) tests/unit

test-system: $(STAMP)  ## system tests on a real Airflow; RUNCTL_TEST_DB=postgresql+psycopg2://... instead of SQLite
	$(PYTEST) tests/system $(FAILED_ONCE_MORE)

test-each-row: $(STAMP)  ## one system test of each row of the kill matrix; RUNCTL_TEST_DB as above
	$(PYTEST) -m each_row tests/system/test_kill_matrix.py

test-each-version: $(STAMP)  ## the system tests of what every supported Airflow must keep; RUNCTL_TEST_DB as above
	$(PYTEST) -m each_version tests/system $(FAILED_ONCE_MORE)

test-airflow:  ## unit tests and test-each-version with another Airflow: VERSION=2.11, 3.1, 3.2 or 3.3
	$(MAKE) AIRFLOW=$(VERSION) test-unit test-each-version

kill-paths: $(STAMP)  ## take each kill path out, one at a time, and show which test notices
	$(BIN)/python -m tests.kill_paths

lint: $(STAMP)  ## ruff, mypy strict, import-linter
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

format: $(STAMP)  ## let ruff mend what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:  ## remove the environments and all caches
	rm -rf .venv .venv-* dist build *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
