"""What a report says of everything but the ways."""

from __future__ import annotations

import platform
import shlex
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import torch

from softprompt import __version__
from softprompt.comparison.bench import Bench
from softprompt.comparison.summary import SMALLER_IS_BETTER
from softprompt.data import Examples
from softprompt.tasks import ClassificationTask, Task
from softprompt.tasks.label_shares import is_uneven, most_frequent


def framed(bench: Bench, command: Sequence[str], minutes: float | None, metric: str) -> dict[str, Any]:
    """What the report says of everything but the ways."""
    settings, model = bench.settings, bench.model
    splits = {"training": bench.training, "validation": bench.validation, "test": bench.test}
    others = {"out_of_domain": None if bench.elsewhere is None else _split(bench.elsewhere, bench.task)}
    return {
        "version": 1,
        "command": shlex.join(command),
        "settings": settings.model_dump(mode="json"),
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
        "softprompt": __version__,
        "machine": f"{platform.machine()}, {torch.get_num_threads()} threads, {model.device.type}",
        "minutes": minutes,
        "model": {
            "name": model.name,
            "parameters": model.num_parameters,
            "fingerprint": model.fingerprint,
            "precision": model.precision,
        },
        "task": {"kind": bench.task.kind, "template": bench.task.template, "labels": list(bench.task.labels)},
        "data": {
            **{name: _split(each, bench.task) for name, each in splits.items()},
            **others,
            "overlap": bench.overlap,
        },
        "budget": {
            "steps": None if settings.budget_minutes else settings.steps,
            "batch_size": settings.batch_size,
            "minutes": settings.budget_minutes,
            "trials": settings.trials,
            "seeds": list(range(settings.seeds)),
        },
        "metric": metric,
        "larger_is_better": metric not in SMALLER_IS_BETTER,
    }


def _split(examples: Examples, task: Task) -> dict[str, Any]:
    found = {"source": examples.rows.name, "examples": len(examples)}
    return {**found, "majority": _majority(examples, task)} if isinstance(task, ClassificationTask) else found


def _majority(examples: Examples, task: ClassificationTask) -> dict[str, Any]:
    """The most frequent label: what always answering it is worth, and whether that makes the labels uneven."""
    label, share = most_frequent(Counter(task.labels[task.index(example)] for example in examples))
    return {"label": label, "share": share, "is_uneven": is_uneven(share, len(task.labels))}
