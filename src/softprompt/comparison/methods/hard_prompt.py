"""The hard prompt: the template without training."""

from __future__ import annotations

from softprompt.comparison.experiment.experiment import Experiment
from softprompt.comparison.method_kind import MethodKind
from softprompt.comparison.methods.adaptation_method import AdaptationMethod, FitConfig
from softprompt.comparison.methods.fitted_model import FittedModel
from softprompt.comparison.methods.local_fitted_model import LocalFittedModel
from softprompt.comparison.methods.method_argument import reject_argument
from softprompt.training import TrainerCallback


class HardPrompt(AdaptationMethod):
    """The hard prompt, the template itself."""

    title, kind, is_trained, is_stochastic = "hard prompt", MethodKind.PROMPTING, False, False

    def __init__(self, argument: str | None = None):
        reject_argument("hard", argument)

    def fit(self, experiment: Experiment, config: FitConfig, callback: TrainerCallback) -> FittedModel:  # noqa: ARG002
        """Return the base model with the template.

        Raises:
            TaskError: the task needs a trained head.
        """
        objective = experiment.task.build_objective(experiment.model, experiment.model.shape.window)
        return LocalFittedModel(
            objective, stored_bytes=len(experiment.task.template.encode()), supports_mixed_batches=True
        )
