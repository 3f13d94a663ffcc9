# `make demo` and `make test` do all the set-up on a fresh machine.

PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test lint install benchmark docs site

demo: .venv/installed
	$(BIN)/python upload_scripts/demo.py $(if $(RESUME),--resume)

test: lint
	$(BIN)/python -m pytest -n 2 --dist worksteal

benchmark: .venv/installed
	$(BIN)/python benchmarks/attacks.py $(if $(ATTACK),--attack $(ATTACK))

site: .venv/installed
	$(BIN)/mkdocs build

docs: .venv/installed
	$(BIN)/python -m cards.docs

lint: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

install: .venv/installed

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --disable-pip-version-check -q -c constraints.txt -e '.[test]'
	touch $@
