"""Encoded examples: the token ids of an example, and one kind of supervision, depending on the task."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from jaxtyping import Float, Int
from torch import Tensor

from softprompt.tasks.templates.token_alignment import TokenAlignment


@dataclass(frozen=True, slots=True)
class LabelTarget:
    """The right label of a classification."""

    label_index: int


@dataclass(frozen=True, slots=True, eq=False)
class SoftLabelTarget:
    """Probabilities of the labels, as a teacher gives them.

    Attributes:
        log_probs: log-probability of each label, `[K]`.
        label_index: index of the right label; -1 if it is unknown.
    """

    log_probs: Float[Tensor, "K"]
    label_index: int = -1


@dataclass(frozen=True, slots=True)
class ResponseTarget:
    """The tokens of a response.

    Attributes:
        token_ids: token ids of the response.
        loss_positions: ascending indices into `token_ids` of the tokens with a loss. In a chat, the user's turns after
            the first answer have no loss.
    """

    token_ids: tuple[int, ...]
    loss_positions: Sequence[int] = field(hash=False)

    @classmethod
    def from_tokens(cls, token_ids: Iterable[int]) -> ResponseTarget:
        """Build the target of a response whose tokens all have a loss."""
        ids = tuple(token_ids)
        return cls(ids, range(len(ids)))


@dataclass(frozen=True, slots=True, eq=False)
class SoftResponseTarget(ResponseTarget):
    """The tokens of a response, each with the probabilities that a teacher gives its most likely tokens there.

    Attributes:
        top_token_ids: ids of the C most likely tokens at each of the n `loss_positions`, `[n, C]`, the likeliest first.
        top_log_probs: their log-probabilities, `[n, C]`.
    """

    top_token_ids: Int[Tensor, "n C"] = field(kw_only=True)
    top_log_probs: Float[Tensor, "n C"] = field(kw_only=True)


@dataclass(frozen=True, slots=True)
class TagTargets:
    """The right tag of each word, in the order of the alignment."""

    tag_indices: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class SpanTarget:
    """The right answers to an extractive question.

    Attributes:
        references: texts of the right answers.
        token_span: first and last token of the first answer in the alignment; None if truncation removed the answer,
            so that the example has no loss.
    """

    references: tuple[str, ...] = field(hash=False)
    token_span: tuple[int, int] | None


Supervision = LabelTarget | SoftLabelTarget | ResponseTarget | TagTargets | SpanTarget
"""What an example teaches. The hash depends only on the tokens or indices to predict."""

SupervisionT = TypeVar("SupervisionT", bound=Supervision)


@dataclass(frozen=True, slots=True)
class EncodedExample:
    """An example as token ids, with its supervision.

    Attributes:
        prompt_ids: token ids up to the answer, BOS included; negative ids are placeholders of virtual tokens.
        supervision: right answer, in the form that the task's objective needs; None if the answer is unknown.
        suffix_ids: token ids after the answer of a masked model.
        is_truncated: whether text was truncated to fit the model's context window.
        task_index: index of the task in multi-task training.
    """

    prompt_ids: list[int]
    supervision: Supervision | None = None
    suffix_ids: list[int] = field(default_factory=list)
    is_truncated: bool = False
    task_index: int = 0

    def __len__(self) -> int:
        return len(self.prompt_ids) + len(self.response_ids) + len(self.suffix_ids)

    @property
    def response_ids(self) -> Sequence[int]:
        """Token ids of the response; empty if the answer is not generated."""
        return self.supervision.token_ids if isinstance(self.supervision, ResponseTarget) else ()

    @property
    def label_index(self) -> int:
        """Index of the right label; -1 without one."""
        return self.supervision.label_index if isinstance(self.supervision, LabelTarget | SoftLabelTarget) else -1

    @property
    def is_target_truncated(self) -> bool:
        """Whether truncation removed the answer, so that the example has no loss."""
        return isinstance(self.supervision, SpanTarget) and self.supervision.token_span is None

    @property
    def first_output_position(self) -> int:
        """The number of leading ids of the prompt at which no hidden state is read."""
        return len(self.prompt_ids) - 1


@dataclass(frozen=True, slots=True)
class AlignedExample(EncodedExample):
    """An encoded example with one field whose tokens a head reads.

    Attributes:
        alignment: alignment of the prompt's tokens with the text of the field.
    """

    alignment: TokenAlignment = field(kw_only=True)

    @property
    def first_output_position(self) -> int:
        """The number of leading ids of the prompt at which no hidden state is read."""
        output_positions = [position for position in self.alignment.token_positions if position >= 0]
        return min([len(self.prompt_ids) - 1, *output_positions])


def get_supervision(example: EncodedExample, kind: type[SupervisionT]) -> SupervisionT:
    """Return the supervision of an example, which must be of the given kind.

    Raises:
        TypeError: the example has another kind of supervision, or none.
    """
    if not isinstance(example.supervision, kind):
        raise TypeError(f"expected {kind.__name__} as supervision, found {type(example.supervision).__name__}")
    return example.supervision


def get_alignment(example: EncodedExample) -> TokenAlignment:
    """Return the alignment of an example that a token head reads.

    Raises:
        TypeError: the example was encoded by another objective.
    """
    if not isinstance(example, AlignedExample):
        raise TypeError("expected an AlignedExample, as encoded by a TokenHeadObjective")
    return example.alignment
