"""Draws random subsets of examples, the same for every method with the same seed."""

from __future__ import annotations

from collections import defaultdict
from itertools import chain, islice, zip_longest

from softprompt.data import ExampleDataset
from softprompt.errors import SettingError
from softprompt.tasks import ClassificationTask, Task
from softprompt.training.random_streams import RandomStream, draw_permutation


def draw_stratified_subset(examples: ExampleDataset, count: int, seed: int, task: Task) -> ExampleDataset:
    """Draw `count` examples, balanced over the labels. With the same seed, a larger subset contains a smaller one.

    Raises:
        SettingError: there are fewer examples.
    """
    if count > len(examples):
        raise SettingError(f"cannot draw {count} examples: there are only {len(examples)} training examples")
    order = draw_permutation(len(examples), seed, RandomStream.TRAIN_SUBSET)
    if not isinstance(task, ClassificationTask):
        return examples.select(order[:count])
    groups: dict[int, list[int]] = defaultdict(list)
    for number in order:
        groups[task.get_label_index(examples[number])].append(number)
    turns = chain.from_iterable(zip_longest(*(groups[label] for label in sorted(groups))))
    return examples.select(list(islice((number for number in turns if number is not None), count)))
