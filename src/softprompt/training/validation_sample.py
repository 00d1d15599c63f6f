"""Which validation examples are measured, where there are more than pay: a sample in which each label has its share."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence

from softprompt.data import Examples
from softprompt.tasks import ClassificationTask, Task
from softprompt.training.order import shuffled

logger = logging.getLogger(__name__)

STREAM = 3 * 2**40  # far from the epochs', the pools' and the held-out examples' streams
SEED = 0  # not the run's: what is chosen by other rows could not be compared


def sample_validation(task: Task, examples: Examples, most: int, task_field: str | None = None) -> Examples:
    """At most `most` of the examples, in their order; all where `most` is 0. It is said when some are left out.

    The same examples are drawn for every run, whatever its seed. Each label, and each of several tasks, keeps its share
    of them, and one at least where there is room.

    Args:
        task: says what label an example has.
        examples: what is drawn from.
        most: how many.
        task_field: the field that names an example's task, where several are learnt together.

    Raises:
        RowError: an example whose label is none of the task's, drawn or not.
    """
    if not most or len(examples) <= most:
        return examples
    strata = _strata(task, examples, task_field)
    left = dict(allot_places(Counter(strata), most))
    drawn = []
    for index in shuffled(len(examples), SEED, STREAM):
        if left.get(strata[index], 0) > 0:
            left[strata[index]] -= 1
            drawn.append(index)
    logger.info(
        "%s: %s of %s validation examples are measured, drawn with the share of each label: "
        "`validation_rows` says how many, 0 for all",
        examples.rows.name,
        f"{most:,}",
        f"{len(examples):,}",
    )
    return examples.chosen(sorted(drawn))


def _strata(task: Task, examples: Examples, task_field: str | None) -> Sequence[Hashable]:
    """What each example has its share by: its label and its task, as far as there are some."""
    labels = [task.index(e) for e in examples] if isinstance(task, ClassificationTask) else [0] * len(examples)
    if task_field is None:
        return labels
    return [(label, str(e.fields.get(task_field))) for label, e in zip(labels, examples, strict=True)]


def allot_places(sizes: Mapping[Hashable, int], count: int) -> dict[Hashable, int]:
    """How many of `count` places each group gets: its share, rounded by the largest remainders, one at least.

    Of more groups than places the largest get one each.

    Args:
        sizes: how many each group has; at least `count` in all.
        count: the places.
    """
    if count < len(sizes):
        return dict.fromkeys(sorted(sizes, key=lambda group: -sizes[group])[:count], 1)
    shares = {group: size * count / sum(sizes.values()) for group, size in sizes.items()}
    places = {group: max(1, int(share)) for group, share in shares.items()}
    for group in sorted(places, key=lambda group: places[group] - shares[group])[: count - sum(places.values())]:
        places[group] += 1
    while (excess := sum(places.values()) - count) > 0:
        many = [group for group in places if places[group] > 1]
        for group in sorted(many, key=lambda group: shares[group] - places[group])[:excess]:
            places[group] -= 1
    return places
