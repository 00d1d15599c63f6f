"""Training: from examples to a saved prompt. This package does not depend on how the prompt is used afterwards."""

from softprompt.training.callbacks import EvalEvent, StepEvent, TrainerCallback
from softprompt.training.tune_pipeline import TuneResult, tune, tune_from_settings
from softprompt.training.tune_settings import TuneSettings

__all__ = ["EvalEvent", "StepEvent", "TrainerCallback", "TuneResult", "TuneSettings", "tune", "tune_from_settings"]
