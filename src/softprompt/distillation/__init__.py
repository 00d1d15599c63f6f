"""Distillation: a long text in front of every input becomes a few virtual tokens of the same frozen model."""

from softprompt.distillation.distill_pipeline import distil, distil_from_settings
from softprompt.distillation.distill_result import DistillResult
from softprompt.distillation.distill_settings import DistillSettings

__all__ = ["DistillResult", "DistillSettings", "distil", "distil_from_settings"]
