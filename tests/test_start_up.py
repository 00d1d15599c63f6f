"""What is imported to begin: nothing that the work at hand does not use. One process each, as a user starts one."""

from __future__ import annotations

import gc
import subprocess
import sys

import pytest

from softprompt.collection_pause import pause_collection

#: Each takes a tenth of a second and more, and is used by few commands.
HEAVY = {"datasets", "fastapi", "matplotlib", "openai", "pandas", "peft", "pyarrow", "sqlalchemy", "uvicorn"}
MODELS = {"torch", "transformers"}


def imported_by(code: str) -> set[str]:
    ran = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys; print(*sys.modules)"], capture_output=True, text=True, check=True
    )
    return set(ran.stdout.split())


def test_help_needs_no_model_library() -> None:
    assert not imported_by("import softprompt, softprompt.cli.main") & (HEAVY | MODELS)


def test_a_training_and_a_comparison_begin_without_what_others_use() -> None:
    found = imported_by("import softprompt.evaluation, softprompt.training, softprompt.comparison.ways")
    assert "transformers.modeling_utils" in found
    assert not found & HEAVY


def test_no_garbage_is_collected_in_a_pause_and_again_after_it() -> None:
    with pause_collection():
        assert not gc.isenabled()
    assert gc.isenabled()


def test_a_pause_ends_with_an_error_too() -> None:
    with pytest.raises(KeyError), pause_collection():
        raise KeyError
    assert gc.isenabled()


def test_a_collector_that_was_off_stays_off() -> None:
    gc.disable()
    try:
        with pause_collection():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()
