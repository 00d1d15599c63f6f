"""Filter out examples without an answer to train on, and log their number."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from softprompt.data import Example, ExampleDataset
from softprompt.errors import DataError
from softprompt.tasks.chat_task import ChatTask
from softprompt.tasks.generation_task import GenerationTask
from softprompt.tasks.task import Task

logger = logging.getLogger(__name__)


def filter_answered(task: Task, examples: Sequence[Example]) -> Sequence[Example]:
    """Return the examples whose answer is not blank; of chats, those with a supervised message.

    Labels, tags and spans are not checked here: a missing one is an error that names the record.

    Raises:
        RecordError: an example has no field for an answer.
        DataError: all answers are blank.
    """
    if not isinstance(task, GenerationTask | ChatTask):
        return examples
    blank_indices = [i for i, example in enumerate(examples) if not task.has_answer(example)]
    if not blank_indices:
        return examples
    source_name = examples.records.name if isinstance(examples, ExampleDataset) else "the data"
    answer_kind = "supervised assistant message" if isinstance(task, ChatTask) else "response"
    if len(blank_indices) == len(examples):
        raise DataError(f"{source_name}: no record has a {answer_kind}; all are blank{_weight_hint(task)}")
    logger.warning(
        "%s: skipping %d of %d records without a %s (first: %s)",
        source_name, len(blank_indices), len(examples), answer_kind, examples[blank_indices[0]].location,
    )  # fmt: skip
    return _drop_examples(examples, set(blank_indices))


def filter_answered_splits(task: Task, splits: dict[str, ExampleDataset]) -> dict[str, ExampleDataset]:
    """Filter the examples of several files with `filter_answered`.

    Raises:
        RecordError, DataError: as `filter_answered`.
    """
    filtered = {name: filter_answered(task, examples) for name, examples in splits.items()}
    return {name: examples for name, examples in filtered.items() if isinstance(examples, ExampleDataset)}


def _weight_hint(task: Task) -> str:
    return " or have the weight 0" if isinstance(task, ChatTask) else ""


def _drop_examples(examples: Sequence[Example], indices: set[int]) -> Sequence[Example]:
    kept_indices = [i for i in range(len(examples)) if i not in indices]
    return (
        examples.select(kept_indices) if isinstance(examples, ExampleDataset) else [examples[i] for i in kept_indices]
    )
