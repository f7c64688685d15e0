# One environment for everything, built from the constraints on first use; `make help` lists the targets.
# The newest has the plain .venv, each other one an environment of its own beside it.
NEWEST := 3.3
OTHERS := 2.11 3.1 3.2 3.4
AIRFLOW := $(NEWEST)
CONSTRAINTS := constraints/airflow-$(AIRFLOW).txt
VENV := .venv$(if $(filter-out $(NEWEST),$(AIRFLOW)),-$(AIRFLOW))
BIN := $(VENV)/bin
COMMA := ,
# The documentation, and what is released, is built with the newest only.
EXTRAS := cli,dev$(if $(filter $(NEWEST),$(AIRFLOW)),$(COMMA)docs$(COMMA)dist)
# Unit tests often wait, for their sandbox or for a time to pass: more of them at once than there are cores. Each process
# takes ten seconds of CPU to import Airflow and all tests.
WORKERS := 8
# Each of them would compile every test file again.
unexport PYTHONDONTWRITEBYTECODE
STAMP := $(VENV)/stamp-$(AIRFLOW)
# More arguments for pytest: ARGS=--last-failed runs alone what failed last, which each environment remembers.
ARGS :=
PYTEST := $(BIN)/python -m pytest --durations=15 --durations-min=1 -o cache_dir=$(VENV)/.pytest_cache $(ARGS)
# How many vendors each row of the kill matrix takes: one, another from row to row, or all.
VENDORS := one
SYSTEM = $(PYTEST) --vendors=$(VENDORS) tests/system
PARTS = $(PYTHON) .ci/parts.py
# What knows nothing of Airflow, or of one version only, is tested with the newest. All that these call of compat is
# tell_span, prefix_of and metrics_are_on, which have tests of their own; of Airflow hardly more than its Connection.
SAME_CONTROL := archive arguments garbage history inventory rounds seal stop sweep task_names watch
SAME_DOCS := adding_a_vendor blocks metrics_page pages readme site
SAME_EVERYWHERE := vendors transport sandbox benchmarks soak test_odd_answers.py cli/test_login.py \
  compat/test_version_knowledge.py $(SAME_CONTROL:%=control/test_%.py) $(SAME_DOCS:%=docs/test_%.py) plugin/test_pure.py \
  package/test_wheel.py package/test_kill_paths.py package/test_layers.py package/test_first_pages.py package/test_parts.py \
  package/test_dist.py package/test_lowest.py
UNIT := tests/unit $(if $(filter-out $(NEWEST),$(AIRFLOW)),$(SAME_EVERYWHERE:%=--ignore=tests/unit/%))
# What make bench measures beside this package, and the soak's CeleryExecutor, are installed for these only.
BENCH_VENV := .venv-bench
SOAK_VENV := .venv-soak
MORE-bench := apache-airflow-providers-dbt-cloud apache-airflow-providers-databricks matplotlib
MORE-soak := apache-airflow-providers-celery
# The lowest versions that pyproject.toml admits, Airflow 2.11.0 and Python 3.11 among them; what uses them.
LOWEST_VENV := .venv-lowest
LOWEST_TESTS := cli control hooks operators sensors transport triggers vendors test_notifications.py test_testing.py
MINUTES := 10
SEED := 1
POSTGRESQL := postgresql+psycopg2://postgres@127.0.0.1:5432/postgres
# The other Airflows run with other Pythons where this machine has them (newest of those that each takes and that was
# tried), with PYTHON where not: 3.11 does for all. PYTHON=... on the command line holds for every one.
PYTHON-2.11 := 3.12
PYTHON-3.1 := 3.13
PYTHON-3.2 := 3.13
PYTHON-3.4 := 3.13
PYENV := $(or $(PYENV_ROOT),$(HOME)/.pyenv)
OWN_PYTHON = $(if $(PYTHON-$(AIRFLOW)),$(firstword $(foreach p,python$(PYTHON-$(AIRFLOW)) \
  $(wildcard $(PYENV)/versions/$(PYTHON-$(AIRFLOW)).*/bin/python),$(shell $(p) -c \
  'import sys, venv, ensurepip; print("$(p)" if "%d.%d" % sys.version_info[:2] == "$(PYTHON-$(AIRFLOW))" else "")' \
  2>/dev/null))))
ENVIRONMENT_PYTHON = $(or $(if $(filter command,$(origin PYTHON)),$(PYTHON)),$(OWN_PYTHON),$(PYTHON))
# A pyenv shim answers `command -v` for versions that are not active, so each candidate is run.
PYTHON = $(firstword $(foreach p,python3.11 python3.12 python3.13 python3,$(shell $(p) -c \
  'import sys, venv, ensurepip; print("$(p)" if sys.version_info >= (3, 11) else "")' 2>/dev/null)))

.DEFAULT_GOAL := help
.PHONY: help environments environment demo check test test-all test-unit test-slow test-system test-essential \
  test-each-version test-airflow test-lowest kill-paths bench soak docs lint types layers format dist clean

help:  ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## */\t/' | expand -t 20

$(STAMP): pyproject.toml $(CONSTRAINTS)
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed" >&2; exit 1; }
	@python=$(ENVIRONMENT_PYTHON) && echo "Building $(VENV) with $$python: two minutes or so, the first time" && \
	  rm -rf $(VENV) && $$python -m venv $(VENV)
	$(BIN)/python -m pip install -qq --disable-pip-version-check -c $(CONSTRAINTS) -e '.[$(EXTRAS)]'
	@touch $@

environments: $(OTHERS:%=environment-%) $(STAMP)  ## build the environments of all Airflow versions; -j5 all at a time

environment-%:
	@$(MAKE) -s AIRFLOW=$* environment

environment: $(STAMP)

demo: $(STAMP)  ## run the stories on a real Airflow and the sandbox; KEEP=1 leaves the UI up
	$(BIN)/python -m demo $(if $(KEEP),--keep)

check: $(STAMP)  ## what to run before each commit: lint, types, layers, unit tests; three to five minutes
	@$(PARTS) "make check" lint="$(MAKE) -s lint" +layers="$(MAKE) -s layers" \
	  "+tests compiled=$(MAKE) -s $(VENV)/compiled" "unit tests=$(MAKE) -s test-unit" +types="$(MAKE) -s types"

test: $(STAMP)  ## check, and the essential stories on a real Airflow; about a quarter of an hour
	@$(PARTS) "make test" check="$(MAKE) -s check" "essential system tests=$(MAKE) -s test-essential"

test-all: $(STAMP)  ## everything there is, slow tests too, all vendors in every row, on SQLite and on PostgreSQL; hours
	@$(PARTS) "make test-all" check="$(MAKE) -s check" "slow unit tests=$(MAKE) -s test-slow" \
	  "system tests on SQLite=RUNCTL_TEST_DB=sqlite $(MAKE) -s test-system VENDORS=all" \
	  "system tests on PostgreSQL=RUNCTL_TEST_DB=$(POSTGRESQL) $(MAKE) -s test-system VENDORS=all" \
	  $(foreach version,$(OTHERS),"Airflow $(version)=$(MAKE) -s test-airflow VERSION=$(version) VENDORS=all") \
	  "lowest versions=$(MAKE) -s test-lowest" \
	  "kill paths=$(MAKE) -s kill-paths"

test-unit: $(STAMP) $(VENV)/compiled  ## unit tests against the sandbox; with another Airflow, those that can differ there
	@$(PYTEST) -n $(WORKERS) $(UNIT)

# One process compiles the tests; all of them would, at the same time, the first time that they run.
$(VENV)/compiled: $(STAMP)
	@$(PYTEST) --collect-only -qq $(UNIT) >/dev/null 2>&1; touch $@

test-slow: $(STAMP)  ## unit tests that take minutes and find little that a faster one does not
	@$(PYTEST) -m slow tests/unit
	@RUNCTL_STORIES=1000 $(PYTEST) -n 4 tests/unit/test_property_of_runs.py

test-system: $(STAMP)  ## all system tests on a real Airflow; RUNCTL_TEST_DB=postgresql+psycopg2://... or sqlite
	@$(SYSTEM)

test-essential: $(STAMP)  ## the system tests of make test: rows and modes of the kill matrix, demo, examples, the form
	@$(SYSTEM) -m essential

test-each-version: $(STAMP)  ## the system tests of what every supported Airflow must keep; RUNCTL_TEST_DB as above
	@$(SYSTEM) -m each_version

test-airflow:  ## unit tests that can differ and test-each-version with another Airflow: VERSION=2.11, 3.1, 3.2, 3.3 or 3.4
	@test -n "$(VERSION)" || { echo "Which? make test-airflow VERSION=2.11" >&2; exit 1; }
	@$(PARTS) "make test-airflow" "unit tests with $(VERSION)=$(MAKE) -s AIRFLOW=$(VERSION) test-unit" \
	  "each version's system tests with $(VERSION)=$(MAKE) -s AIRFLOW=$(VERSION) test-each-version"

test-lowest: $(LOWEST_VENV)/stamp  ## the unit tests that can differ, with the lowest versions that pyproject.toml admits: Airflow 2.11.0
	@$(LOWEST_VENV)/bin/python -m pytest -n $(WORKERS) -o cache_dir=$(LOWEST_VENV)/.pytest_cache $(ARGS) \
	  $(LOWEST_TESTS:%=tests/unit/%)

kill-paths: $(STAMP)  ## take each kill path out, one at a time, and show which test notices
	$(BIN)/python -m tests.kill_paths

bench: $(BENCH_VENV)/stamp  ## measure beside a bare client and the peers; ROW=stop one family, PROFILE=1, PAGE=1 into docs
	@$(if $(PROFILE),PROFILE=1 )$(BENCH_VENV)/bin/python -m tests.benchmarks $(ROW:%=--row %) \
	  $(if $(PLOT),--plot) $(if $(PAGE),--page)

soak: $(SOAK_VENV)/stamp  ## faults against a deployment with CeleryExecutor, and an oracle; MINUTES=10 SEED=1, KEEP=1 keeps logs
	@$(SOAK_VENV)/bin/python -m tests.soak --minutes $(MINUTES) --seed $(SEED) $(if $(KEEP),--keep)

$(BENCH_VENV)/stamp $(SOAK_VENV)/stamp $(LOWEST_VENV)/stamp: .venv-%/stamp: pyproject.toml constraints/%.txt
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed" >&2; exit 1; }
	@echo "Building $(@D) with $(PYTHON): two minutes or so, the first time"
	rm -rf $(@D)
	$(PYTHON) -m venv $(@D)
	$(@D)/bin/python -m pip install -qq --disable-pip-version-check -c constraints/$*.txt -e '.[cli,dev]' $(MORE-$*)
	@touch $@

docs: $(STAMP)  ## build the documentation site into build/docs; a broken link, reference or anchor fails
	@rm -rf build/docs
	@$(BIN)/python -m sphinx --fail-on-warning --keep-going --nitpicky --quiet -d build/doctrees docs build/docs
	@$(BIN)/python docs/check_site.py build/docs

lint: $(STAMP)  ## ruff: rules and form
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

types: $(STAMP)  ## mypy, strict
	@$(BIN)/mypy

layers: $(STAMP)  ## import-linter: who may import whom, and no circles
	@$(BIN)/lint-imports --no-cache

format: $(STAMP)  ## let ruff mend what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

dist: $(STAMP)  ## build wheel and source archive, twice, the same byte for byte, check them, and use the wheel; into dist/
	@$(BIN)/python .ci/dist.py
	@$(PYTEST) -m slow -k linked_environment tests/unit/package/test_wheel.py

clean:  ## remove the environments and all caches
	rm -rf .venv .venv-* dist build *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
