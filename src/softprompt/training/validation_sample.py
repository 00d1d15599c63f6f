"""Sample of the validation examples, in which each label keeps its share."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence

from softprompt.data import ExampleDataset
from softprompt.tasks import ClassificationTask, Task
from softprompt.training.random_streams import RandomStream, draw_permutation

logger = logging.getLogger(__name__)

SAMPLE_SEED = 0  # not the run's seed: runs with other validation examples could not be compared


def sample_validation_examples(
    task: Task, examples: ExampleDataset, max_examples: int, task_field: str | None = None
) -> ExampleDataset:
    """Sample validation examples, keep their order, and log how many were sampled.

    All runs get the same sample, whatever their seeds. Each label, and each of several tasks, keeps its share of the
    examples, and at least one example if possible.

    Args:
        task: Task, which defines an example's label.
        examples: Examples to sample from.
        max_examples: Maximum number of examples; 0 keeps all.
        task_field: Name of the field that holds an example's task, if several tasks are trained together.

    Raises:
        RecordError: If an example, sampled or not, has an unknown label.
    """
    if not max_examples or len(examples) <= max_examples:
        return examples
    strata = _assign_strata(task, examples, task_field)
    remaining = dict(allocate_proportionally(Counter(strata), max_examples))
    sampled = []
    for index in draw_permutation(len(examples), SAMPLE_SEED, RandomStream.VALIDATION_SAMPLE):
        if remaining.get(strata[index], 0) > 0:
            remaining[strata[index]] -= 1
            sampled.append(index)
    logger.info(
        "%s: %s of %s validation examples are evaluated, sampled with the share of each label: "
        "`max_eval_samples` sets their number, 0 evaluates all",
        examples.records.name,
        f"{max_examples:,}",
        f"{len(examples):,}",
    )
    return examples.select(sorted(sampled))


def _assign_strata(task: Task, examples: ExampleDataset, task_field: str | None) -> Sequence[Hashable]:
    """Return the stratum of each example: its label and its task, as far as they exist."""
    labels = (
        [task.get_label_index(e) for e in examples] if isinstance(task, ClassificationTask) else [0] * len(examples)
    )
    if task_field is None:
        return labels
    return [(label, str(e.fields.get(task_field))) for label, e in zip(labels, examples, strict=True)]


def allocate_proportionally(group_sizes: Mapping[Hashable, int], total: int) -> dict[Hashable, int]:
    """Allocate a total to groups in proportion to their sizes, by largest remainders, with at least one for each group.

    If there are more groups than `total`, the largest groups get one each.

    Args:
        group_sizes: Size of each group; the sum is at least `total`.
        total: Number to allocate.
    """
    if total < len(group_sizes):
        return dict.fromkeys(sorted(group_sizes, key=lambda group: -group_sizes[group])[:total], 1)
    shares = {group: size * total / sum(group_sizes.values()) for group, size in group_sizes.items()}
    allocated = {group: max(1, int(share)) for group, share in shares.items()}
    for group in sorted(allocated, key=lambda group: allocated[group] - shares[group])[
        : total - sum(allocated.values())
    ]:
        allocated[group] += 1
    while (excess := sum(allocated.values()) - total) > 0:
        reducible = [group for group in allocated if allocated[group] > 1]
        for group in sorted(reducible, key=lambda group: shares[group] - allocated[group])[:excess]:
            allocated[group] -= 1
    return allocated
