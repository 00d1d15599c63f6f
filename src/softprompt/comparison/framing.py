"""What a report says of everything but the ways."""

from __future__ import annotations

import platform
import shlex
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import torch

from softprompt import __version__
from softprompt.comparison.bench import Bench
from softprompt.comparison.summary import SMALLER_IS_BETTER
from softprompt.data import Examples


def framed(bench: Bench, command: Sequence[str], minutes: float | None, metric: str) -> dict[str, Any]:
    """What the report says of everything but the ways."""
    settings, model = bench.settings, bench.model
    splits = {"training": bench.training, "validation": bench.validation, "test": bench.test}
    others = {"out_of_domain": None if bench.elsewhere is None else _split(bench.elsewhere)}
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
            **{name: _split(each) for name, each in splits.items()},
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


def _split(examples: Examples) -> dict[str, Any]:
    return {"source": examples.rows.name, "examples": len(examples)}
