"""Whether examples that something is measured on are among those that were learnt from."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from itertools import combinations

from softprompt.data import Example, Examples
from softprompt.tasks import ChatTask, Task
from softprompt.tasks.template import Template

logger = logging.getLogger(__name__)

NOTED_SHARE = 0.1  # of the validation's inputs; short texts are alike now and then


def overlaps(task: Task, splits: Mapping[str, Iterable[Example]]) -> dict[str, int]:
    """How many different inputs two splits have in common, by `"one and other"`.

    An input is what the template shows of an example, of a chat what is said before the assistant's last message; case
    and white space do not make it another.
    """
    name_of = _namer(task)
    found = {name: {name_of(example) for example in examples} for name, examples in splits.items()}
    return {f"{one} and {other}": len(found[one] & found[other]) for one, other in combinations(found, 2)}


def warn_of_shared_inputs(task: Task, training: Examples, validation: Examples) -> None:
    """Note where validation examples are training examples, all of them or more than happens by chance."""
    better = "its figures, by which the best step is chosen, will be better than they should be"
    if training.digest == validation.digest:
        logger.warning("`validation` holds the same rows as `data`: %s", better)
        return
    name_of = _namer(task)
    inputs = {name_of(example) for example in validation}
    shared = len({each for example in training if (each := name_of(example)) in inputs})
    if shared and shared >= NOTED_SHARE * len(inputs):
        logger.warning("%d of the %d inputs of `validation` are among those of `data`: %s", shared, len(inputs), better)


def _namer(task: Task) -> Callable[[Example], int]:
    """What names an example's input: the hash of its text, of which there may be millions."""
    template = Template(task.template).fields

    def name_of(example: Example) -> int:
        fields = {**example.fields, **task.asked(example)} if isinstance(task, ChatTask) else example.fields
        shown = "\x1f".join(str(fields.get(field)) for field in template)
        return hash(" ".join(shown.casefold().split()))

    return name_of
