"""Whether examples that something is measured on are among those that were learnt from."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from itertools import combinations

from softprompt.data import Example
from softprompt.errors import DataError
from softprompt.tasks import ChatTask, Task
from softprompt.tasks.template import Template

logger = logging.getLogger(__name__)


def overlaps(task: Task, splits: Mapping[str, Iterable[Example]]) -> dict[str, int]:
    """How many different inputs two splits have in common, by `"one and other"`.

    An input is what the template shows of an example, of a chat what is said before the assistant's last message; case
    and white space do not make it another.
    """
    found = {name: {_input(task, example) for example in examples} for name, examples in splits.items()}
    return {f"{one} and {other}": len(found[one] & found[other]) for one, other in combinations(found, 2)}


def check_overlap(overlap: Mapping[str, int], allowed: bool) -> None:
    """Whether the test examples are apart from the others.

    Raises:
        DataError: they are not, and that is not allowed.
    """
    shared = {pair: count for pair, count in overlap.items() if count}
    said = "; ".join(f"{pair} have {count} inputs in common" for pair, count in shared.items())
    if any(pair.endswith("and test") for pair in shared) and not allowed:
        raise DataError(
            f"{said}: figures on the test set would flatter. Take them out, or allow it with `allow_overlap=True`"
        )
    if shared:
        logger.warning("%s", said)


def _input(task: Task, example: Example) -> str:
    fields = {**example.fields, **task.asked(example)} if isinstance(task, ChatTask) else example.fields
    shown = "\x1f".join(str(fields.get(field)) for field in Template(task.template).fields)
    return " ".join(shown.casefold().split())
