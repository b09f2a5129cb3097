# Two commands do everything: `make ask P=<folder> Q="<question>"` and `make test`.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
P ?= .
Q ?=

.PHONY: ask test check dev clean

ask: $(VENV)/.run
	@$(BIN)/selfroute ask --path "$(P)" -- "$(Q)"

test: $(VENV)/.dev check
	$(BIN)/python -m pytest -n 2

check: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python tests/check_types.py

dev: $(VENV)/.dev

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.run: pyproject.toml constraints.txt | $(VENV)/bin/python
	@$(PIP) install -c constraints.txt -e . && touch $@

# torch first and by itself: the pinned build is taken from disk where there is one.
$(VENV)/.dev: pyproject.toml constraints.txt | $(VENV)/bin/python
	@$(PIP) install -c constraints.txt torch
	@$(PIP) install -c constraints.txt -e '.[dev]' && touch $@ $(VENV)/.run

clean:
	rm -rf build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache
