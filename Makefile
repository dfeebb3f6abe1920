# Everything is installed into .venv; Python 3.11 or later with venv, make and git are enough.
PYTHON ?= python3
BIN := .venv/bin
SOURCES := tertulia activities workflows starter worker.py tests benchmarks chaos examples docs/hooks.py

.DEFAULT_GOAL := help
.PHONY: help demo test check coverage up format lint types imports docs docs-serve bench bench-service chaos fuzz soak clean

help: ## print this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-13s %s\n", $$1, $$2}'

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

demo: .venv/installed ## a conversation of one minute: a join, a leave, a killed worker, and the check of the result
	$(BIN)/tertulia demo

up: .venv/installed ## run Temporal, Postgres, the offline model, a worker and the API in the foreground
	$(BIN)/tertulia up

test: .venv/installed ## run the tests, on a real Temporal server and a real Postgres
	$(BIN)/pytest -n 3 --dist worksteal

lint: .venv/installed
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/ruff check $(SOURCES)

types: .venv/installed
	$(BIN)/mypy

imports: .venv/installed ## check the import contracts of pyproject.toml: layers, no cycles
	$(BIN)/lint-imports

check: lint types imports docs ## format, lint, types, import contracts, documentation, tests with coverage
	$(BIN)/python -m pytest -n 3 --dist worksteal -p tests.harness.coverage_scope --cov --cov-report=

coverage: .venv/installed ## print the coverage by file that the last `make check` measured
	$(BIN)/coverage report

docs: .venv/installed ## build the documentation into build/site
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

docs-serve: .venv/installed ## serve the documentation on http://127.0.0.1:8000, rebuilt on every change
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs serve

format: .venv/installed ## format the code
	$(BIN)/ruff format $(SOURCES)
	$(BIN)/ruff check --fix $(SOURCES)

bench: .venv/installed ## measure the cost of a turn, against a plain loop in the same run
	$(BIN)/python -m benchmarks

bench-service: .venv/installed ## measure the cost that the API adds to a message, against a loop of the same model calls
	$(BIN)/python -m benchmarks --repeats 0 --long-turns 0 --restarts 0

chaos: .venv/installed ## kill every process at every step, compare the transcripts, write docs/reliability.md
	$(BIN)/python -m chaos matrix

fuzz: .venv/installed ## test the API against its OpenAPI document, with many more requests than the tests send
	TERTULIA_FUZZ_EXAMPLES=100 $(BIN)/pytest -s tests/api/test_openapi.py

soak: .venv/installed ## run twenty conversations for half an hour with a fault every 20 seconds
	$(BIN)/python -m chaos soak

clean: ## remove the virtual environment, build results and the data of the embedded stack
	rm -rf .venv .tertulia build *.egg-info
	find . -name __pycache__ -not -path "./.venv/*" -exec rm -rf {} +
