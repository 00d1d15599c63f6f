"""Training: from examples to a saved prompt. This package does not depend on how the prompt is used afterwards."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from softprompt.gc_pause import pause_gc

if TYPE_CHECKING:
    from softprompt.training.callbacks import EvalEvent, StepEvent, TrainerCallback
    from softprompt.training.tune_pipeline import tune, tune_from_settings
    from softprompt.training.tune_result import TuneResult
    from softprompt.training.tune_settings import TuneSettings

__all__ = ["EvalEvent", "StepEvent", "TrainerCallback", "TuneResult", "TuneSettings", "tune", "tune_from_settings"]

# Imported on first use: the command line reads the settings for its help, which must not wait for torch.
_LAZY_IMPORTS = {
    "EvalEvent": "callbacks",
    "StepEvent": "callbacks",
    "TrainerCallback": "callbacks",
    "TuneResult": "tune_result",
    "TuneSettings": "tune_settings",
    "tune": "tune_pipeline",
    "tune_from_settings": "tune_pipeline",
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY_IMPORTS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    with pause_gc():
        return getattr(import_module(f"{__name__}.{_LAZY_IMPORTS[name]}"), name)
