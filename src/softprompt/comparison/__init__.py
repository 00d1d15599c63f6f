"""Comparison of methods that adapt a model to a task: all are run on the same data, and a report ranks them."""

from softprompt.comparison.comparison_runner import compare, run_comparison
from softprompt.comparison.experiment.compare_settings import CompareSettings
from softprompt.comparison.experiment.experiment import Experiment
from softprompt.comparison.method_kind import MethodKind
from softprompt.comparison.methods.adaptation_method import AdaptationMethod, FitConfig
from softprompt.comparison.methods.fitted_model import EvalResult, FittedModel, ServingResult, TrainingRecord
from softprompt.comparison.report import Report

__all__ = [
    "AdaptationMethod",
    "CompareSettings",
    "EvalResult",
    "Experiment",
    "FitConfig",
    "FittedModel",
    "MethodKind",
    "Report",
    "ServingResult",
    "TrainingRecord",
    "compare",
    "run_comparison",
]
