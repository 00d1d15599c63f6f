"""A run's state in one safetensors file: what resumes exactly. It is not what is exported.

It names the run that it is of, by a hash of everything the run depends on: another run's is not gone on from. It holds
the prompt's parameters (an encoder's too), the optimiser's moments, the best prompt so far, and the step.
Random numbers and the place in the data are functions of the seed and the step, so there is nothing of them to hold.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field, ValidationError, model_validator
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


class _BestFacts(BaseModel):
    step: int = Field(ge=0)
    metrics: dict[str, float]
    never_answered: tuple[str, ...] = ()


class _Facts(BaseModel):
    step: int = Field(ge=0)
    best: _BestFacts | None
    stale: int = Field(ge=0)
    useful_tokens: int = Field(ge=0)
    seconds: float = Field(ge=0, allow_inf_nan=False)
    start: dict[str, float] | None = None

    @model_validator(mode="after")
    def _best_is_past(self) -> _Facts:
        if self.best is not None and self.best.step > self.step:
            raise ValueError("its best step is still to come")
        return self


def hash_run(facts: Mapping[str, Any]) -> str:
    """Names a run by what it depends on: the settings but for where it saves, the data's hashes, and the base model.

    Args:
        facts: `settings` and `data`, as run.json has them.
    """
    settings = {name: value for name, value in facts["settings"].items() if name != "output"}
    text = json.dumps({"settings": settings, "data": facts["data"]}, sort_keys=True)
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


def write_checkpoint(
    path: Path,
    progress: Progress,
    prompt: Mapping[str, Tensor],
    optimiser: Mapping[str, Tensor],
    run: str | None = None,
) -> None:
    """Write the file, whole or not at all.

    Args:
        path: where to.
        progress: how far the run is.
        prompt: the parameters that train, and buffers.
        optimiser: its state.
        run: the run's hash.

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
    metadata = {"progress": json.dumps(facts), **({} if run is None else {"run": run})}
    content = save({name: t.detach().cpu().contiguous() for name, t in tensors.items()}, metadata)
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
            facts = _Facts.model_validate(json.loads(file.metadata()["progress"]))
    except (SafetensorError, OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise CheckpointError(f"{path} is damaged ({_said(error)}): start over with `overwrite=True`") from error
    progress = Progress(
        step=facts.step,
        best=None if facts.best is None else _best(facts.best, _below("best/", tensors)),
        stale=facts.stale,
        useful_tokens=facts.useful_tokens,
        seconds=facts.seconds,
        start=facts.start,
    )
    return progress, _below("prompt/", tensors), _below("optimiser/", tensors)


def read_run(path: Path) -> str | None:
    """The hash of the run that a checkpoint is of; None where it names none, or cannot be read."""
    try:
        with safe_open(path, framework="pt") as file:
            found: str | None = (file.metadata() or {}).get("run")
            return found
    except (SafetensorError, OSError, ValueError):
        return None


def _said(error: Exception) -> str:
    """What is wrong, on one line."""
    if not isinstance(error, ValidationError):
        return str(error)
    first = error.errors()[0]
    return f"{'.'.join(map(str, first['loc'])) or 'progress'}: {first['msg']}"


def _facts(best: Best) -> dict[str, Any]:
    return {"step": best.step, "metrics": best.metrics, "never_answered": list(best.never_answered)}


def _best(facts: _BestFacts, parameters: dict[str, Tensor]) -> Best:
    return Best(facts.step, facts.metrics, parameters, facts.never_answered)


def _below(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}
