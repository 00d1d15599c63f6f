"""The interface of fitted models in a comparison: what is measured of each, and the results."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from softprompt.data import Example
from softprompt.model_api.api_counts import ApiCounts

#: Number of responses that BLEU is computed from, and their largest number of tokens. Generation costs far more than
#: reading; all methods generate responses to the same examples.
GENERATION_SAMPLES, GENERATION_MAX_TOKENS = 50, 64


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
        num_request_tokens: number of tokens that each request repeats before its input, without the template; None if
            it is not known.
        stored_bytes: bytes to store for the task besides the base model.
        shares_base_weights: whether the unchanged base model can answer other texts from the same copy of the weights.
        training_record: record of the training run, if there was one.
        api_usage: requests and tokens of an API, if one was used.
        max_examples: largest number of examples to evaluate, the first ones; None for all.
    """

    num_trained_parameters: int = 0
    num_request_tokens: int | None = None
    stored_bytes: int = 0
    shares_base_weights: bool = True
    training_record: TrainingRecord | None = None
    api_usage: ApiCounts | None = None
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
