"""Which examples have an answer to learn. Of those that have none it is said how many are left out."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from softprompt.data import Example, Examples
from softprompt.errors import DataError
from softprompt.tasks.chat import ChatTask
from softprompt.tasks.generation import GenerationTask
from softprompt.tasks.task import Task

logger = logging.getLogger(__name__)


def with_answers(task: Task, examples: Sequence[Example]) -> Sequence[Example]:
    """The examples whose answer is not blank; of a chat, in which a message with a weight is not.

    Labels, tags and spans are not looked at: an example without one is an error that names its row.

    Raises:
        RowError: an example has no field for an answer.
        DataError: all answers are blank.
    """
    if not isinstance(task, GenerationTask | ChatTask):
        return examples
    blank = [i for i, example in enumerate(examples) if not task.has_answer(example)]
    if not blank:
        return examples
    name = examples.rows.name if isinstance(examples, Examples) else "the data"
    what = "message of the assistant's to learn" if isinstance(task, ChatTask) else "response"
    if len(blank) == len(examples):
        raise DataError(f"{name}: no row has a {what}: all are blank{_or_unweighted(task)}")
    logger.warning(
        "%s: %d of %d rows are left out, as they have no %s (the first is %s)",
        name, len(blank), len(examples), what, examples[blank[0]].where,
    )  # fmt: skip
    return _without(examples, set(blank))


def with_answers_each(task: Task, splits: dict[str, Examples]) -> dict[str, Examples]:
    """Several files' examples, each as `with_answers` has them.

    Raises:
        RowError, DataError: as `with_answers`.
    """
    kept = {name: with_answers(task, examples) for name, examples in splits.items()}
    return {name: examples for name, examples in kept.items() if isinstance(examples, Examples)}


def _or_unweighted(task: Task) -> str:
    return " or have the weight 0" if isinstance(task, ChatTask) else ""


def _without(examples: Sequence[Example], blank: set[int]) -> Sequence[Example]:
    kept = [i for i in range(len(examples)) if i not in blank]
    return examples.chosen(kept) if isinstance(examples, Examples) else [examples[i] for i in kept]
