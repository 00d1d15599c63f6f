"""The interface of adaptation methods in a comparison: a method is fitted, and its fitted model is measured.

To add a method, write a subclass with `title`, `kind` and `fit`, and pass it in `methods` as `module:Class`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from softprompt.comparison.experiment.experiment import Experiment
from softprompt.comparison.method_kind import MethodKind
from softprompt.comparison.methods.fitted_model import FittedModel
from softprompt.data import ExampleDataset
from softprompt.training import TrainerCallback


@dataclass(frozen=True)
class FitConfig:
    """The configuration of one fit of a method.

    Attributes:
        examples: training examples.
        seed: random seed.
        steps: number of training steps.
        learning_rate: learning rate; None for the default of the method.
        overrides: settings of `TuneSettings` that a sweep varies.
    """

    examples: ExampleDataset
    seed: int = 0
    steps: int = 100
    learning_rate: float | None = None
    overrides: Mapping[str, Any] = field(default_factory=dict)


class AdaptationMethod(ABC):
    """A method of adapting a model to a task.

    Attributes:
        title: title in the report.
        kind: what the method changes.
        is_trained: whether the method trains in steps, so that learning rates are searched.
        is_stochastic: whether the seed changes the result.
        is_local: whether the method runs the base model; False for an API.
        needs_text: whether the method uses the text of the settings in front of the inputs.
    """

    title: str
    kind: MethodKind
    is_trained: bool = True
    is_stochastic: bool = True
    is_local: bool = True
    needs_text: bool = False

    def get_default_learning_rate(self, experiment: Experiment) -> float:  # noqa: ARG002
        """Return the learning rate at the center of the search, for a trained method."""
        return 1e-3

    def get_cache_key_settings(self, experiment: Experiment) -> Mapping[str, Any]:
        """Return the settings that the results depend on; they are part of the runs' cache key."""
        return {"batch_size": experiment.settings.batch_size} if self.is_trained else {}

    def get_selection_key(self, experiment: Experiment, metrics: Mapping[str, float]) -> tuple[float, ...]:
        """Return what learning rates are compared by; larger is better.

        Args:
            experiment: the experiment.
            metrics: metrics of a training's best step on the validation examples.
        """
        return experiment.objective.selection_key(metrics)

    @abstractmethod
    def fit(self, experiment: Experiment, config: FitConfig, callback: TrainerCallback) -> FittedModel:
        """Adapt the experiment's model to its task.

        Args:
            experiment: base model, task and data, which must not be changed.
            config: training examples, seed, steps and learning rate.
            callback: receives the progress of the training.

        Raises:
            SoftPromptError: the method does not support the model, task or data.
        """
