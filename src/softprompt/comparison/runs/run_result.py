"""The results of runs, as their files have them. Their keys in the files are aliases, so that old files are reused."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer

from softprompt.comparison.methods.fitted_model import ServingResult
from softprompt.model_api.api_counts import ApiCounts


class RunResult(BaseModel):
    """A result of a run. Fields that do not apply to the run are not in its file."""

    model_config = ConfigDict(frozen=True, populate_by_name=True)

    def to_json_object(self) -> dict[str, Any]:
        """Return the content of the file."""
        return self.model_dump(by_alias=True, exclude_unset=True)


class PilotResult(RunResult):
    """The result of a pilot run.

    Attributes:
        seconds_per_step: mean seconds per step.
    """

    seconds_per_step: float = Field(alias="seconds")


class TrainingSummary(RunResult):
    """The summary of a training.

    Attributes:
        metrics: metrics of the best step on the validation examples.
        seconds: seconds of the steps, without evaluations.
        useful_tokens_per_second: throughput in tokens that are neither padding nor virtual.
        training_curve: metrics of each evaluation, with its `step`.
    """

    metrics: dict[str, float] | None
    seconds: float
    useful_tokens_per_second: float
    training_curve: tuple[dict[str, int | float], ...] = Field(default=(), alias="curve")


class TrialResult(RunResult):
    """The result of a trial: the summary of its training, or why the loss diverged.

    Attributes:
        learning_rate: learning rate of the trial.
        metrics: metrics of the best step on the validation examples; None if the loss diverged.
        seconds: seconds of the steps.
        useful_tokens_per_second: throughput of the training.
        training_curve: metrics of each evaluation, with its `step`.
        peak_memory_bytes: peak memory of the run.
        error: why the loss diverged.
    """

    learning_rate: float = Field(alias="rate")
    metrics: dict[str, float] | None
    seconds: float | None = None
    useful_tokens_per_second: float | None = None
    training_curve: tuple[dict[str, int | float], ...] = Field(default=(), alias="curve")
    peak_memory_bytes: int | None = None
    error: str | None = None


def _upgrade_serving(results: Any) -> Any:
    """Rename a field of earlier versions: requests per second were rows per second."""
    if not isinstance(results, Mapping):
        return results
    return {num_tasks: _rename_throughput(result) for num_tasks, result in results.items()}


def _rename_throughput(result: Any) -> Any:
    if not isinstance(result, Mapping) or "rows_per_second" not in result:
        return result
    return {"requests_per_second" if key == "rows_per_second" else key: value for key, value in result.items()}


#: In the file, `{}` stands for a run without training.
_OptionalTraining = Annotated[
    TrainingSummary | None,
    BeforeValidator(lambda value: value or None),
    PlainSerializer(lambda training: training.to_json_object() if training else {}),
]


class MeasuredRun(RunResult):
    """The result of a run on the test set.

    Attributes:
        learning_rate: learning rate of the run; None for a method that is not trained.
        peak_memory_bytes: peak memory of the run.
        metrics: metrics on the test set, the headline metric first.
        scores: score of each test example, larger is better.
        confusion_matrix: counts by right label (row) and predicted label (column); None without labels.
        num_trained_parameters: number of trained parameters.
        num_request_tokens: number of tokens that each request repeats before its input; None if it is not known.
        stored_bytes: bytes to store for the task besides the base model.
        shares_base_weights: whether the unchanged base model can answer other texts from the same copy of the weights.
        training: summary of the training; None without one.
        out_of_domain_metrics: metrics on the out-of-domain examples, if there are any.
        serving: latency and throughput by the number of tasks, of the first seed.
        reference_loss: loss per token on the reference text, of the first seed.
        api_usage: requests and tokens of an API.
    """

    learning_rate: float | None = Field(alias="rate")
    peak_memory_bytes: int | None
    metrics: dict[str, float]
    scores: tuple[float, ...]
    confusion_matrix: tuple[tuple[int, ...], ...] | None = Field(alias="confusion")
    num_trained_parameters: int = Field(alias="trained_parameters")
    num_request_tokens: int | None = Field(default=None, alias="request_tokens")
    stored_bytes: int
    shares_base_weights: bool = Field(alias="removable")
    training: _OptionalTraining = Field(alias="course")
    out_of_domain_metrics: dict[str, float] | None = Field(default=None, alias="elsewhere")
    serving: Annotated[dict[str, ServingResult | None], BeforeValidator(_upgrade_serving)] = Field(default_factory=dict)
    reference_loss: float | None = Field(default=None, alias="neutral_loss")
    api_usage: ApiCounts | None = Field(default=None, alias="calls")


class FailedRun(RunResult):
    """A run that failed although its method is measured.

    Attributes:
        learning_rate: learning rate of the run; None for a method that is not trained.
        error: why the run failed.
    """

    learning_rate: float | None = Field(alias="rate")
    error: str
