"""The settings that all training runs share, whatever they train: steps, optimizer, checkpoints, folders."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field

from softprompt.errors import SettingError
from softprompt.training.shared_settings import SettingGroup, SharedSettings


class RunSettings(SharedSettings):
    """Settings that all training runs share. None means that the default depends on other settings.

    The run keeps its own files in `<output>.run`.
    """

    gradient_accumulation_steps: Annotated[int, SettingGroup.TRAINING] = Field(
        default=1, gt=0, description="Micro-batches per step."
    )
    learning_rate: Annotated[float | None, SettingGroup.TRAINING] = Field(
        default=None,
        gt=0,
        le=1000,
        description="Learning rate of AdamW. [default: chosen by the method and the model]",
    )
    warmup_ratio: Annotated[float, SettingGroup.TRAINING] = Field(
        default=0.1, ge=0, le=1, description="Fraction of the steps with a rising learning rate."
    )
    weight_decay: Annotated[float, SettingGroup.TRAINING] = Field(
        default=0.0, ge=0, description="Weight decay of AdamW."
    )
    max_grad_norm: Annotated[float, SettingGroup.TRAINING] = Field(
        default=1.0, gt=0, description="Maximum norm of the gradient."
    )
    eval_steps: Annotated[int | None, SettingGroup.TRAINING] = Field(
        default=None, gt=0, description="Steps between evaluations. [default: a quarter of the steps]"
    )
    early_stopping_patience: Annotated[int | None, SettingGroup.TRAINING] = Field(
        default=None, gt=0, description="Stop after this many evaluations without improvement. [default: never]"
    )
    save_steps: Annotated[int | None, SettingGroup.RUN] = Field(
        default=None, gt=0, description="Steps between checkpoints. [default: at every evaluation]"
    )
    seed: Annotated[int, SettingGroup.TRAINING] = Field(default=0, ge=0, description="Seed of all random numbers.")
    gradient_checkpointing: Annotated[bool, SettingGroup.MACHINE] = Field(
        default=False, description="Recompute activations to save memory; slower."
    )

    @property
    def evaluation_interval(self) -> int:
        """Number of steps between evaluations."""
        return self.eval_steps or max(1, self.max_steps // 4)

    @property
    def checkpoint_interval(self) -> int:
        """Number of steps between checkpoints."""
        return self.save_steps or self.evaluation_interval

    @property
    def run_folder(self) -> Path:
        """Folder of the run's own files."""
        return get_run_folder(self.output)


def get_run_folder(output: Path) -> Path:
    """Return the folder in which the run that writes `output` keeps its own files; it is next to `output`.

    Raises:
        SettingError: If the path has no name, as `.` does not.
    """
    if not output.name:
        raise SettingError(
            f"`output={str(output)!r}` has no name: choose a named folder, since the run's files go beside it"
        )
    return output.with_name(output.name + ".run")
