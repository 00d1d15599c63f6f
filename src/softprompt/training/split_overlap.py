"""Overlap between the examples of splits: training examples among those that are evaluated."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from itertools import combinations

from softprompt.data import Example, ExampleDataset
from softprompt.tasks import ChatTask, Task
from softprompt.tasks.templates.template import Template

logger = logging.getLogger(__name__)

WARN_OVERLAP_FRACTION = 0.1  # of the validation inputs; some short texts are equal by chance


def count_overlaps(task: Task, splits: Mapping[str, Iterable[Example]]) -> dict[str, int]:
    """Count the distinct inputs that each pair of splits has in common, by `"SPLIT and SPLIT"`.

    The input of an example is what the template shows of it, and of a chat the messages before the assistant's last
    one. Case and white space are ignored.
    """
    hash_input = _make_input_hasher(task)
    inputs = {name: {hash_input(example) for example in examples} for name, examples in splits.items()}
    return {f"{one} and {other}": len(inputs[one] & inputs[other]) for one, other in combinations(inputs, 2)}


def warn_about_shared_inputs(task: Task, training: ExampleDataset, validation: ExampleDataset) -> None:
    """Warn if validation examples are training examples: all of them, or more than by chance."""
    consequence = "its metrics, which select the best step, will be too good"
    if training.digest == validation.digest:
        logger.warning("`validation` holds the same examples as `data`: %s", consequence)
        return
    hash_input = _make_input_hasher(task)
    inputs = {hash_input(example) for example in validation}
    shared = len({key for example in training if (key := hash_input(example)) in inputs})
    if shared and shared >= WARN_OVERLAP_FRACTION * len(inputs):
        logger.warning(
            "%d of the %d inputs of `validation` are among those of `data`: %s", shared, len(inputs), consequence
        )


def _make_input_hasher(task: Task) -> Callable[[Example], int]:
    """Make a function that hashes an example's input; hashes, since there may be millions of texts."""
    template = Template(task.template).field_names

    def hash_input(example: Example) -> int:
        fields = {**example.fields, **task.get_prompt_fields(example)} if isinstance(task, ChatTask) else example.fields
        shown = "\x1f".join(str(fields.get(field)) for field in template)
        return hash(" ".join(shown.casefold().split()))

    return hash_input
