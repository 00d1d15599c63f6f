"""The settings of a training run. The command line, TOML files and Python keywords all become one `TuneSettings`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field

from softprompt.errors import SettingError
from softprompt.placement import Placement
from softprompt.training.shared_settings import SettingGroup, SharedSettings


class TuneSettings(SharedSettings):
    """Settings of a training run. None means that the default depends on other settings.

    The run keeps its own files in `<output>.run`. Descriptions of fields are those of `SharedSettings`.
    """

    task_field: Annotated[str | None, SettingGroup.TASK] = Field(
        default=None, description='Field with the task name of an example, for `method="multitask"`.'
    )
    method: Annotated[str, SettingGroup.PROMPT] = Field(
        default="prefix",
        description="Tuning method: prompt, residual, p-tuning, multitask, context, prefix or p-tuning-v2.",
    )
    num_virtual_tokens: Annotated[int | None, SettingGroup.PROMPT] = Field(
        default=None,
        description="Number of virtual tokens. [default: 40; 200 for prompt and multitask; at most 200 for context]",
    )
    init: Annotated[str, SettingGroup.PROMPT] = Field(
        default="text",
        description="Initializer: text, text:'…', labels, vocab, random, zeros, prompt:FOLDER. [default: text, "
        "an example of each label if the examples fit, otherwise a description of the task]",
    )
    encoder: Annotated[str | None, SettingGroup.PROMPT] = Field(
        default=None,
        description="Reparametrization during training: none or mlp (prefix), mlp or lstm (p-tuning).",
    )
    encoder_hidden_size: Annotated[int | None, SettingGroup.PROMPT] = Field(
        default=None, gt=0, description="Hidden size of the encoder."
    )
    placement: Annotated[Placement, SettingGroup.PROMPT] = Field(
        default=Placement.BEFORE, description="Placement of the virtual tokens: before, after-bos or after-text."
    )
    task_rank: Annotated[int, SettingGroup.PROMPT] = Field(
        default=1, gt=0, description='Rank of the task-specific part, for `method="multitask"`.'
    )
    freeze_sink: Annotated[bool, SettingGroup.PROMPT] = Field(
        default=False, description="Do not train the keys of the first virtual token."
    )
    layers: Annotated[int | None, SettingGroup.PROMPT] = Field(
        default=None,
        description="Number of top layers that a prefix trains. Fewer layers train faster, because the hidden states "
        "below are computed once per text. [default: all]",
    )
    head: Annotated[str | None, SettingGroup.PROMPT] = Field(
        default=None,
        description="Classification head: verbalizer or linear. [default: verbalizer; linear for p-tuning-v2, "
        "token classification and extraction]",
    )
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
