"""A way to adapt a model to a task, as a comparison sees it: it is fitted, and then it answers.

To add one, write a class with `title`, `kind` and `fit`, and name it in `ways` as `module:Class`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from softprompt.comparison.bench import Bench
from softprompt.comparison.settings import CompareSettings
from softprompt.data import Example, Examples
from softprompt.training import Watcher

#: Responses that each way writes to have their BLEU taken, and the most tokens of one: writing costs far more than
#: reading, and every way writes the same ones.
WRITTEN, WRITTEN_TOKENS = 50, 64


class Kind(StrEnum):
    """What a way changes."""

    PROMPTING = "prompting"
    SOFT_PROMPT = "soft prompt"
    WEIGHTS = "weights"
    API = "api"


@dataclass(frozen=True)
class Trial:
    """One fitting of a way.

    Attributes:
        examples: what it may learn from.
        seed: of everything random in it.
        steps: updates it may make.
        rate: its learning rate; the way's own default if None.
        options: settings of `TuneSettings` that a sweep varies.
    """

    examples: Examples
    seed: int = 0
    steps: int = 100
    rate: float | None = None
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Course:
    """How a training went.

    Attributes:
        seconds: spent in updates; evaluations left out.
        useful_tokens_per_second: tokens that are neither padding nor virtual.
        evaluations: what each evaluation measured on the validation examples, with its `step`.
        best: the one that was kept; None where nothing was evaluated.
    """

    seconds: float
    useful_tokens_per_second: float
    evaluations: Sequence[Mapping[str, Any]]
    best: Mapping[str, Any] | None


@dataclass(frozen=True)
class Measured:
    """What a fitted way is worth on some examples.

    Attributes:
        metrics: figures of merit, the headline first.
        scores: each example's own, larger is better; by these two ways are compared.
        confusion: how often each label (row) was predicted as each (column); None where there are no labels.
    """

    metrics: Mapping[str, float]
    scores: Sequence[float]
    confusion: Sequence[Sequence[int]] | None = None


@dataclass(frozen=True)
class Serving:
    """What it takes to answer when the requests of several tasks arrive at once.

    Attributes:
        latency_seconds: until a request has its answer, in the mean.
        rows_per_second: answers.
        tokens_per_second: tokens of the texts that were read, and of the responses that were written.
    """

    latency_seconds: float
    rows_per_second: float
    tokens_per_second: float


class Fitted(ABC):
    """A way that is ready to answer.

    Attributes:
        trained_parameters: how many numbers were trained.
        stored_bytes: what must be kept for this task beside the base model.
        removable: whether the untouched base answers other texts from the same copy of the weights.
        course: how its training went, if there was one.
        calls: what asking others has cost, if others were asked.
        most: how many examples it is measured on at most, the first ones; None: on all.
    """

    trained_parameters: int = 0
    stored_bytes: int = 0
    removable: bool = True
    course: Course | None = None
    calls: Mapping[str, Any] | None = None
    most: int | None = None

    @abstractmethod
    def measured(self, examples: Sequence[Example]) -> Measured:
        """What it is worth on examples whose answers are known."""

    def neutral_loss(self, texts: Sequence[str]) -> float | None:  # noqa: ARG002
        """The loss per token of texts that have nothing to do with the task; None where it cannot be told."""
        return None

    def served(self, examples: Sequence[Example], tasks: int) -> Serving | None:  # noqa: ARG002
        """The requests of so many tasks at once, timed, as if each had been fitted like this one; None: not here."""
        return None


class Way(ABC):
    """One way to adapt a model.

    Attributes:
        title: as the report names it.
        kind: what it changes.
        learns: whether it learns by steps, so that learning rates are tried.
        repeats: whether a seed changes anything.
        runs_here: whether it needs the base model; else others are asked.
    """

    title: str
    kind: Kind
    learns: bool = True
    repeats: bool = True
    runs_here: bool = True

    def rate(self, bench: Bench) -> float:  # noqa: ARG002
        """The learning rate around which others are tried, where it learns by steps."""
        return 1e-3

    def uses(self, settings: CompareSettings) -> Mapping[str, Any]:
        """Which of the comparison's settings its results depend on; what is finished is known by them."""
        return {"batch_size": settings.batch_size} if self.learns else {}

    @abstractmethod
    def fit(self, bench: Bench, trial: Trial, watcher: Watcher) -> Fitted:
        """Adapt the bench's model to its task.

        Raises:
            SoftPromptError: it cannot be done on this model, task or data.
        """
