"""A run's state in one safetensors file: what resumes exactly. It is not what is exported.

It holds the prompt's parameters (an encoder's too), the optimiser's moments, the best prompt so far, and the step.
Random numbers and the place in the data are functions of the seed and the step, so there is nothing of them to hold.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from softprompt.errors import CheckpointError, disk_errors
from softprompt.saved.folders import write_file


@dataclass
class Best:
    """The best evaluation so far: when, what it measured, the parameters, and the labels that are never answered."""

    step: int
    metrics: dict[str, float]
    parameters: dict[str, Tensor]
    never_answered: tuple[str, ...] = ()


@dataclass
class Progress:
    """How far a run is.

    Attributes:
        step: updates made.
        best: the best evaluation so far, if there was one.
        stale: evaluations since then.
        useful_tokens: seen in training.
        seconds: spent in training, evaluations left out.
        start: what the validation examples measured before the first step; None where that was not measured.
    """

    step: int = 0
    best: Best | None = None
    stale: int = 0
    useful_tokens: int = 0
    seconds: float = 0.0
    start: dict[str, float] | None = None


def write_checkpoint(
    path: Path, progress: Progress, prompt: Mapping[str, Tensor], optimiser: Mapping[str, Tensor]
) -> None:
    """Write the file, whole or not at all.

    Raises:
        DiskFull: the checkpoint before is untouched.
    """
    best = progress.best
    tensors = {f"prompt/{name}": t for name, t in prompt.items()}
    tensors |= {f"optimiser/{name}": t for name, t in optimiser.items()}
    tensors |= {f"best/{name}": t for name, t in (best.parameters if best else {}).items()}
    facts = {
        "step": progress.step,
        "best": None if best is None else _facts(best),
        "stale": progress.stale,
        "useful_tokens": progress.useful_tokens,
        "seconds": progress.seconds,
        "start": progress.start,
    }
    content = save(
        {name: t.detach().cpu().contiguous() for name, t in tensors.items()}, {"progress": json.dumps(facts)}
    )
    with disk_errors(path):
        write_file(path, content)


def read_checkpoint(path: Path) -> tuple[Progress, dict[str, Tensor], dict[str, Tensor]]:
    """The progress, the prompt's parameters and the optimiser's state.

    Raises:
        CheckpointError: the file is damaged.
    """
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            facts = json.loads(file.metadata()["progress"])
    except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path} is damaged ({error}): start over with `overwrite=True`") from error
    best = facts["best"]
    progress = Progress(
        step=facts["step"],
        best=None if best is None else _best(best, _below("best/", tensors)),
        stale=facts["stale"],
        useful_tokens=facts["useful_tokens"],
        seconds=facts["seconds"],
        start=facts.get("start"),
    )
    return progress, _below("prompt/", tensors), _below("optimiser/", tensors)


def _facts(best: Best) -> dict[str, Any]:
    return {"step": best.step, "metrics": best.metrics, "never_answered": list(best.never_answered)}


def _best(facts: dict[str, Any], parameters: dict[str, Tensor]) -> Best:
    return Best(facts["step"], facts["metrics"], parameters, tuple(facts.get("never_answered", ())))


def _below(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}
