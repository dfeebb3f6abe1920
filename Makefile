# Everything is installed into .venv from the project's own files; Python 3.11+ with venv, make and git are enough.
PYTHON ?= python3
BIN := .venv/bin
SOURCES := tertulia activities workflows starter worker.py tests benchmarks chaos

.DEFAULT_GOAL := help
.PHONY: help demo test check up format lint types imports docs docs-serve bench bench-service chaos fuzz soak clean

help: ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-13s %s\n", $$1, $$2}'

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

demo: .venv/installed ## a live group conversation: joins, leaves, a killed worker, and the proof
	$(BIN)/tertulia demo

up: .venv/installed ## the whole stack in the foreground (Temporal, Postgres, model, worker, API)
	$(BIN)/tertulia up

test: .venv/installed ## the tests, on a real Temporal server and a real Postgres
	$(BIN)/pytest -n 3 --dist worksteal

lint: .venv/installed
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/ruff check $(SOURCES)

types: .venv/installed
	$(BIN)/mypy

imports: .venv/installed ## the import contracts of pyproject.toml: layers, no cycles
	$(BIN)/lint-imports

check: lint types test ## format, lint, types, tests

docs: .venv/installed ## build the documentation into build/site
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

docs-serve: .venv/installed ## serve the documentation on http://127.0.0.1:8000, rebuilt on every change
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs serve

format: .venv/installed ## rewrite the code in the house's format
	$(BIN)/ruff format $(SOURCES)
	$(BIN)/ruff check --fix $(SOURCES)

bench: .venv/installed ## what a turn costs, against a plain loop in the same run
	$(BIN)/python -m benchmarks

bench-service: .venv/installed ## what the API adds to a group's message, against a loop of the same model calls
	$(BIN)/python -m benchmarks --repeats 0 --long-turns 0 --restarts 0

chaos: .venv/installed ## everything killed at every step, transcripts compared; writes docs/reliability.md
	$(BIN)/python -m chaos matrix

fuzz: .venv/installed ## the API against its own document, with many more requests than the tests send
	TERTULIA_FUZZ_EXAMPLES=100 $(BIN)/pytest -s tests/api/test_openapi.py

soak: .venv/installed ## twenty conversations for half an hour, a fault every 20 seconds
	$(BIN)/python -m chaos soak

clean: ## remove the virtual environment, build results and the embedded stack's data
	rm -rf .venv .tertulia build *.egg-info
	find . -name __pycache__ -not -path "./.venv/*" -exec rm -rf {} +
