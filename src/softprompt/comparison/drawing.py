"""Examples drawn at random, alike for every way: the same seed draws the same."""

from __future__ import annotations

from collections import defaultdict
from itertools import chain, islice, zip_longest

from softprompt.data import Examples
from softprompt.errors import SettingError
from softprompt.tasks import ClassificationTask, Task
from softprompt.training.order import shuffled

DRAWN_STREAM = 2**42  # far from the streams that training draws from


def drawn(examples: Examples, count: int, seed: int, task: Task) -> Examples:
    """`count` examples, as many of each label as can be. What a seed draws of more holds what it draws of fewer.

    Raises:
        SettingError: there are not so many.
    """
    if count > len(examples):
        raise SettingError(f"{count} examples are asked for, and there are {len(examples)} to learn from")
    order = shuffled(len(examples), seed, stream=DRAWN_STREAM)
    if not isinstance(task, ClassificationTask):
        return examples.chosen(order[:count])
    groups: dict[int, list[int]] = defaultdict(list)
    for number in order:
        groups[task.index(examples[number])].append(number)
    turns = chain.from_iterable(zip_longest(*(groups[label] for label in sorted(groups))))
    return examples.chosen(list(islice((number for number in turns if number is not None), count)))
