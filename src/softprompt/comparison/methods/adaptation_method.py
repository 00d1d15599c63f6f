"""The interface of adaptation methods in a comparison: a method is fitted, and its fitted model is measured.

To add a method, write a subclass with `title`, `kind` and `fit`, and pass it in `methods` as `module:Class`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from softprompt.comparison.experiment.compare_settings import CompareSettings
from softprompt.comparison.experiment.experiment import Experiment
from softprompt.comparison.method_kind import MethodKind
from softprompt.data import Example, ExampleDataset
from softprompt.training import TrainerCallback

#: Number of responses that BLEU is computed from, and their largest number of tokens. Generation costs far more than
#: reading; all methods generate responses to the same examples.
GENERATION_SAMPLES, GENERATION_MAX_TOKENS = 50, 64


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


@dataclass(frozen=True)
class TrainingRecord:
    """The record of a training run.

    Attributes:
        seconds: duration of the steps, without evaluations.
        useful_tokens_per_second: throughput in tokens that are neither padding nor virtual.
        evaluations: metrics on the validation examples, each with its `step`.
        best: evaluation of the step that was kept; None without evaluations.
    """

    seconds: float
    useful_tokens_per_second: float
    evaluations: Sequence[Mapping[str, Any]]
    best: Mapping[str, Any] | None


@dataclass(frozen=True)
class EvalResult:
    """The result of evaluating a fitted model.

    Attributes:
        metrics: metrics by name, the headline metric first.
        scores: score of each example, larger is better; the paired test compares them.
        confusion: counts of the right label (row) and the predicted label (column); None without labels.
    """

    metrics: Mapping[str, float]
    scores: Sequence[float]
    confusion: Sequence[Sequence[int]] | None = None


@dataclass(frozen=True)
class ServingResult:
    """Latency and throughput for concurrent requests of one or several tasks.

    Attributes:
        latency_seconds: mean seconds until a request is answered.
        requests_per_second: requests answered per second.
        tokens_per_second: prompt and completion tokens per second.
    """

    latency_seconds: float
    requests_per_second: float
    tokens_per_second: float


class FittedModel(ABC):
    """A fitted model.

    Attributes:
        num_trained_parameters: number of trained parameters.
        stored_bytes: bytes to store for the task besides the base model.
        shares_base_weights: whether the unchanged base model can answer other texts from the same copy of the weights.
        training_record: record of the training run, if there was one.
        api_usage: requests and tokens of an API, if one was used.
        max_examples: largest number of examples to evaluate, the first ones; None for all.
    """

    num_trained_parameters: int = 0
    stored_bytes: int = 0
    shares_base_weights: bool = True
    training_record: TrainingRecord | None = None
    api_usage: Mapping[str, Any] | None = None
    max_examples: int | None = None

    @abstractmethod
    def evaluate(self, examples: Sequence[Example]) -> EvalResult:
        """Evaluate the model on labeled examples."""

    def compute_reference_loss(self, texts: Sequence[str]) -> float | None:  # noqa: ARG002
        """Return the loss per token on texts unrelated to the task; None if the model cannot compute one."""
        return None

    def benchmark_serving(self, examples: Sequence[Example], num_tasks: int) -> ServingResult | None:  # noqa: ARG002
        """Time one request of each of `num_tasks` tasks at once, each fitted like this one; None if not supported."""
        return None


class AdaptationMethod(ABC):
    """A method of adapting a model to a task.

    Attributes:
        title: title in the report.
        kind: what the method changes.
        is_trained: whether the method trains in steps, so that learning rates are searched.
        is_stochastic: whether the seed changes the result.
        is_local: whether the method runs the base model; False for an API.
    """

    title: str
    kind: MethodKind
    is_trained: bool = True
    is_stochastic: bool = True
    is_local: bool = True

    def get_default_learning_rate(self, experiment: Experiment) -> float:  # noqa: ARG002
        """Return the learning rate at the center of the search, for a trained method."""
        return 1e-3

    def get_cache_key_settings(self, settings: CompareSettings) -> Mapping[str, Any]:
        """Return the settings that the results depend on; they are part of the runs' cache key."""
        return {"batch_size": settings.batch_size} if self.is_trained else {}

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
