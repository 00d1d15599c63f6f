"""Checkpoints: the state of a run in one safetensors file, from which the run resumes exactly.

A checkpoint is not a saved prompt. It holds the hash of everything that the run depends on, so no other run continues
from it. It also holds the prompt's parameters (with an encoder's), the optimizer's moments, the best prompt so far, and
the step. Random numbers and the position in the data are functions of the seed and the step, so they are not stored.
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

from softprompt.atomic import atomic_write_file
from softprompt.errors import CheckpointError, translate_os_errors


@dataclass
class BestCheckpoint:
    """Best evaluation so far.

    Attributes:
        step: Number of steps before the evaluation.
        metrics: Metric values by name.
        parameters: Parameters and buffers that were evaluated.
        unpredicted_labels: Labels of validation examples that were never predicted.
    """

    step: int
    metrics: dict[str, float]
    parameters: dict[str, Tensor]
    unpredicted_labels: tuple[str, ...] = ()


@dataclass
class TrainerState:
    """State of a run.

    Attributes:
        step: Number of optimizer steps.
        best: Best evaluation so far; None before the first one.
        evals_since_best: Number of evaluations since the best one.
        useful_tokens: Number of tokens trained on that are neither padding nor virtual.
        train_seconds: Training time in seconds, without evaluations.
        initial_metrics: Validation metrics before the first step; None if they were not measured.
    """

    step: int = 0
    best: BestCheckpoint | None = None
    evals_since_best: int = 0
    useful_tokens: int = 0
    train_seconds: float = 0.0
    initial_metrics: dict[str, float] | None = None


class _BestMetadata(BaseModel):
    """`best` in a checkpoint's metadata. Its fields are keys of the file, as version 0.1.0 wrote them."""

    step: int = Field(ge=0)
    metrics: dict[str, float]
    never_answered: tuple[str, ...] = ()


class _StateMetadata(BaseModel):
    """`progress` in a checkpoint's metadata. Its fields are keys of the file, as version 0.1.0 wrote them."""

    step: int = Field(ge=0)
    best: _BestMetadata | None
    stale: int = Field(ge=0)
    useful_tokens: int = Field(ge=0)
    seconds: float = Field(ge=0, allow_inf_nan=False)
    start: dict[str, float] | None = None

    @model_validator(mode="after")
    def _check_best_step(self) -> _StateMetadata:
        if self.best is not None and self.best.step > self.step:
            raise ValueError("its best step is after its last step")
        return self


def compute_run_hash(run_metadata: Mapping[str, Any]) -> str:
    """Hash what a run depends on: its settings without `output`, the hashes of its data, and its base model.

    Args:
        run_metadata: Content of run.json, of which `settings` and `data` count.
    """
    settings = {name: value for name, value in run_metadata["settings"].items() if name != "output"}
    text = json.dumps({"settings": settings, "data": run_metadata["data"]}, sort_keys=True)
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


def write_checkpoint(
    path: Path,
    state: TrainerState,
    parameters: Mapping[str, Tensor],
    optimizer_state: Mapping[str, Tensor],
    run_hash: str | None = None,
) -> None:
    """Write a checkpoint atomically.

    Args:
        path: File to write.
        state: State of the run.
        parameters: Parameters and buffers by name.
        optimizer_state: Tensors of the optimizer's state by name.
        run_hash: Hash of the run, see `compute_run_hash`.

    Raises:
        DiskFull: If the disk is full; the checkpoint before is unchanged.
    """
    best = state.best
    tensors = {f"prompt/{name}": t for name, t in parameters.items()}
    tensors |= {f"optimiser/{name}": t for name, t in optimizer_state.items()}
    tensors |= {f"best/{name}": t for name, t in (best.parameters if best else {}).items()}
    progress = {
        "step": state.step,
        "best": None if best is None else _best_to_metadata(best),
        "stale": state.evals_since_best,
        "useful_tokens": state.useful_tokens,
        "seconds": state.train_seconds,
        "start": state.initial_metrics,
    }
    metadata = {"progress": json.dumps(progress), **({} if run_hash is None else {"run": run_hash})}
    content = save({name: t.detach().cpu().contiguous() for name, t in tensors.items()}, metadata)
    with translate_os_errors(path):
        atomic_write_file(path, content)


def read_checkpoint(path: Path) -> tuple[TrainerState, dict[str, Tensor], dict[str, Tensor]]:
    """Read a checkpoint. Returns the state of the run, the prompt's parameters and the optimizer's state.

    Raises:
        CheckpointError: If the file is damaged.
    """
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            progress = _StateMetadata.model_validate(json.loads(file.metadata()["progress"]))
    except (SafetensorError, OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise CheckpointError(
            f"{path} is damaged ({_describe_error(error)}): start over with `overwrite=True`"
        ) from error
    state = TrainerState(
        step=progress.step,
        best=None if progress.best is None else _best_from_metadata(progress.best, _select_prefix("best/", tensors)),
        evals_since_best=progress.stale,
        useful_tokens=progress.useful_tokens,
        train_seconds=progress.seconds,
        initial_metrics=progress.start,
    )
    return state, _select_prefix("prompt/", tensors), _select_prefix("optimiser/", tensors)


def read_run_hash(path: Path) -> str | None:
    """Read the hash of the run that wrote a checkpoint; None if the file has no hash or cannot be read."""
    try:
        with safe_open(path, framework="pt") as file:
            run_hash: str | None = (file.metadata() or {}).get("run")
            return run_hash
    except (SafetensorError, OSError, ValueError):
        return None


def _describe_error(error: Exception) -> str:
    """Describe an error on one line."""
    if not isinstance(error, ValidationError):
        return str(error)
    first = error.errors()[0]
    return f"{'.'.join(map(str, first['loc'])) or 'progress'}: {first['msg']}"


def _best_to_metadata(best: BestCheckpoint) -> dict[str, Any]:
    return {"step": best.step, "metrics": best.metrics, "never_answered": list(best.unpredicted_labels)}


def _best_from_metadata(metadata: _BestMetadata, parameters: dict[str, Tensor]) -> BestCheckpoint:
    return BestCheckpoint(metadata.step, metadata.metrics, parameters, metadata.never_answered)


def _select_prefix(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}
