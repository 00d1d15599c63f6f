"""Datasets of encoded examples: encoded on access, or once and compactly."""

from __future__ import annotations

import logging
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import tee
from typing import Protocol, overload, runtime_checkable

from softprompt.data import Example, ExampleDataset
from softprompt.errors import TaskError
from softprompt.tasks import EncodedExample, Objective
from softprompt.tasks.compact_examples import CompactExamples
from softprompt.training.task_mixture import TaskMixture

logger = logging.getLogger(__name__)


@runtime_checkable
class TrainDataset(Protocol):
    """Interface of encoded examples that are trained on."""

    @property
    def lengths(self) -> Sequence[int]:
        """Number of tokens of each example."""

    def __getitem__(self, index: int, /) -> EncodedExample: ...


@dataclass(frozen=True, eq=False)
class EncodedDataset(Sequence[EncodedExample]):
    """Dataset of examples that are encoded on access: only their lengths stay in memory.

    Attributes:
        objective: Objective that encodes an example.
        examples: Examples before encoding.
        lengths: Number of tokens of each example.
        num_truncated: Number of examples whose text was truncated.
        truncated_target_indices: Indices of the examples whose target was truncated.
        mixture: Mixture of the tasks, if several are trained together.
    """

    objective: Objective
    examples: Sequence[Example]
    lengths: Sequence[int]
    num_truncated: int
    truncated_target_indices: Sequence[int] = ()
    mixture: TaskMixture | None = None

    @classmethod
    def from_examples(
        cls, objective: Objective, examples: Sequence[Example], mixture: TaskMixture | None = None
    ) -> EncodedDataset:
        """Build a dataset; each example is encoded once to get its length.

        Raises:
            RecordError: If an example does not fit the task, or has an unknown task.
        """
        lengths, truncated_target_indices, num_truncated = array("L"), array("L"), 0
        for index, encoded in enumerate(encode_examples(objective, examples, mixture)):
            lengths.append(len(encoded))
            num_truncated += encoded.is_truncated
            if encoded.is_target_truncated:
                truncated_target_indices.append(index)
        return cls(objective, examples, lengths, num_truncated, truncated_target_indices, mixture)

    def __len__(self) -> int:
        return len(self.lengths)

    @overload
    def __getitem__(self, index: int) -> EncodedExample: ...
    @overload
    def __getitem__(self, index: slice) -> list[EncodedExample]: ...
    def __getitem__(self, index: int | slice) -> EncodedExample | list[EncodedExample]:
        if isinstance(index, slice):
            return list(encode_examples(self.objective, self.examples[index], self.mixture))
        return self._encode_one(self.examples[index])

    def _encode_one(self, example: Example) -> EncodedExample:
        return next(encode_examples(self.objective, [example], self.mixture))


def encode_examples(
    objective: Objective, examples: Iterable[Example], mixture: TaskMixture | None = None
) -> Iterator[EncodedExample]:
    """Encode examples lazily, with the index of each one's task if several tasks are trained together.

    Raises:
        RecordError: If an example does not fit the task, or has an unknown task.
    """
    if mixture is None:
        return objective.encode_examples(examples)
    to_encode, to_index = tee(examples)
    pairs = zip(objective.encode_examples(to_encode), to_index, strict=True)
    return (replace(encoded, task_index=mixture.get_task_index(example)) for encoded, example in pairs)


def encode_dataset(
    objective: Objective, examples: Sequence[Example], split_name: str, mixture: TaskMixture | None = None
) -> EncodedDataset:
    """Build a dataset that encodes examples on access, and warn about truncated texts."""
    dataset = EncodedDataset.from_examples(objective, examples, mixture)
    _warn_truncated(dataset.num_truncated, len(dataset), split_name)
    return dataset


def encode_compact_examples(
    objective: Objective, examples: Sequence[Example], split_name: str, mixture: TaskMixture | None = None
) -> CompactExamples:
    """Encode examples once, compactly, for repeated evaluation, and warn about truncated texts."""
    encoded = CompactExamples(encode_examples(objective, examples, mixture))
    _warn_truncated(encoded.num_truncated, len(encoded), split_name)
    return encoded


def _warn_truncated(count: int, total: int, split_name: str) -> None:
    if count:
        logger.warning("%d of %d %s texts were truncated to the model's context window", count, total, split_name)


def drop_truncated_targets(dataset: EncodedDataset, examples: ExampleDataset) -> EncodedDataset:
    """Drop the examples whose target was truncated, and log how many.

    Raises:
        TaskError: If the target of every example was truncated.
    """
    if not dataset.truncated_target_indices:
        return dataset
    if len(dataset.truncated_target_indices) == len(dataset):
        raise TaskError(
            "no example has its answer within the model's context window: choose a longer window or shorter texts"
        )
    logger.warning(
        "%d of %d training examples are dropped: their answer was truncated",
        len(dataset.truncated_target_indices),
        len(dataset),
    )
    dropped = set(dataset.truncated_target_indices)
    kept = [i for i in range(len(dataset)) if i not in dropped]
    return replace(
        dataset, examples=examples.select(kept), lengths=[dataset.lengths[i] for i in kept], truncated_target_indices=()
    )
