# `make run` and `make test` need Python 3.11 or later and nothing else.
PYTHON ?= python3
PORT ?= 8000
DATA ?= var
BIN = .venv/bin

ROUNDS ?= 10
KILLS ?= 50

.PHONY: run test soak check bench eval lock audit clean generate

.venv/ready: requirements/dev.txt pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

run: .venv/ready
	$(BIN)/zhengtong serve --demo --port $(PORT) --data $(DATA)

test: .venv/ready
	$(BIN)/python -m pytest

# Long proofs: kills at random moments under load, a simulated year of a thousand requests, long random histories, …
soak: .venv/ready
	ZHENGTONG_SOAK_ROUNDS=$(ROUNDS) ZHENGTONG_SOAK_KILLS=$(KILLS) $(BIN)/python -m pytest -n 0 -m soak

check: .venv/ready
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/bandit --quiet --configfile pyproject.toml --recursive --severity-level medium app catalog exchange migrations
	$(BIN)/python -m app.generate --check

generate: .venv/ready
	$(BIN)/python -m app.generate

bench: .venv/ready
	$(BIN)/python -m bench $(BENCH)

# How often the duplicate check is right, on generated catalogs and on data of others.
eval: .venv/ready
	$(BIN)/python -m bench.evaluation

# Needs uv, for maintainers only.
lock:
	uv pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes --no-annotate --no-header --no-emit-index-url --quiet -o requirements/run.txt
	uv pip compile pyproject.toml --extra embeddings --universal --python-version 3.11 --generate-hashes --no-annotate --no-header --no-emit-index-url --quiet -o requirements/embeddings.txt
	uv pip compile pyproject.toml --group dev --universal --python-version 3.11 --generate-hashes --no-annotate --no-header --no-emit-index-url --quiet -o requirements/dev.txt

# The locked components against the published advisories, and their bill of materials (CycloneDX); asks PyPI.
audit:
	uvx pip-audit --requirement requirements/run.txt --require-hashes --disable-pip --format cyclonedx-json --output sbom.json

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .import_linter_cache build *.egg-info
