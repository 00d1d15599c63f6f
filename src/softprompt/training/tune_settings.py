"""The settings of a training run. The command line, TOML files and Python keywords all become one `TuneSettings`."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from softprompt.placement import Placement
from softprompt.training.run_settings import RunSettings
from softprompt.training.shared_settings import TRAINING_DATA_DESCRIPTION, DataSource, SettingGroup


class TuneSettings(RunSettings):
    """Settings of a training run on examples. None means that the default depends on other settings."""

    data: DataSource = Field(description=TRAINING_DATA_DESCRIPTION)

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
