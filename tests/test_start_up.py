"""Start-up imports only what the command uses. Each test starts a process, as a user would."""

from __future__ import annotations

import gc
import subprocess
import sys

import pytest

from softprompt.gc_pause import pause_gc

#: Libraries that take at least a tenth of a second to import and are used by few commands.
HEAVY = {"datasets", "fastapi", "matplotlib", "openai", "pandas", "peft", "pyarrow", "sqlalchemy", "uvicorn"}
MODELS = {"torch", "transformers"}


def list_imports(code: str) -> set[str]:
    process = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys; print(*sys.modules)"], capture_output=True, text=True, check=True
    )
    return set(process.stdout.split())


def test_help_imports_no_model_library() -> None:
    assert not list_imports("import softprompt, softprompt.cli.main") & (HEAVY | MODELS | {"pydantic"})


def test_commands_without_settings_do_not_import_the_settings() -> None:
    for arguments in (["--help"], ["show", "--help"]):
        modules = list_imports(f"from softprompt.cli.main import run_cli; run_cli({arguments})")
        assert "softprompt.cli.settings_command" in modules
        assert "softprompt.training.tune_settings" not in modules


def test_help_of_tune_reads_the_settings_without_model_libraries() -> None:
    modules = list_imports("import softprompt.training.tune_settings")
    assert "pydantic" in modules
    assert not modules & (HEAVY | MODELS)


def test_training_and_comparison_import_no_unused_libraries() -> None:
    modules = list_imports(
        "import softprompt.evaluation, softprompt.training, softprompt.comparison.methods.method_registry"
    )
    assert "transformers.modeling_utils" in modules
    assert not modules & HEAVY


def test_the_garbage_collector_is_disabled_only_during_pause_gc() -> None:
    with pause_gc():
        assert not gc.isenabled()
    assert gc.isenabled()


def test_an_error_during_pause_gc_enables_the_garbage_collector_again() -> None:
    with pytest.raises(KeyError), pause_gc():
        raise KeyError
    assert gc.isenabled()


def test_pause_gc_leaves_a_disabled_garbage_collector_disabled() -> None:
    gc.disable()
    try:
        with pause_gc():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()
