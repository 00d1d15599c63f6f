"""The settings of a distillation. The command line, TOML files and Python keywords all become `DistillSettings`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator
from pydantic_core import PydanticCustomError

from softprompt.distillation.source_settings import SourceSettings
from softprompt.errors import SettingError
from softprompt.training.run_settings import RunSettings
from softprompt.training.shared_settings import DataSource, SettingGroup


class DistillSettings(SourceSettings, RunSettings):
    """Settings of a distillation. None means that the default depends on other settings."""

    data: DataSource | None = Field(
        default=None, description="Inputs without answers, as users will send them: the teacher answers them."
    )
    questions: DataSource | None = Field(
        default=None, description="Questions about the document, without answers. [default: the model writes them]"
    )
    num_questions: Annotated[int, SettingGroup.TASK] = Field(
        default=256, ge=8, description="Number of inputs that the model writes about a document."
    )
    num_virtual_tokens: Annotated[int | Literal["all"], SettingGroup.PROMPT] = Field(
        default=32, description="Number of virtual tokens, or all: the keys and values of the whole text, exact."
    )
    init: Annotated[Literal["attention-matching", "last-tokens", "random"] | None, SettingGroup.PROMPT] = Field(
        default=None,
        description="Initial prefix: attention-matching (fewer keys and values with the same attention output), "
        "last-tokens or random. [default: attention-matching, where the model's attention can be read]",
    )
    calibration: Annotated[Literal["batch", "contextual", "none"], SettingGroup.TASK] = Field(
        default="batch",
        description="Calibration of a classifying teacher, which prefers some labels for any text: batch (its mean "
        "over the inputs), contextual (its answers to texts without content) or none.",
    )
    max_new_tokens: Annotated[int, SettingGroup.TASK] = Field(
        default=128, gt=0, description="Maximum length of the teacher's responses, in tokens."
    )
    top_logprobs: Annotated[int, SettingGroup.TRAINING] = Field(
        default=32, gt=0, description="Number of most likely tokens whose probabilities the student learns."
    )
    max_steps: Annotated[int, SettingGroup.TRAINING] = Field(
        default=100, ge=0, description="Number of training steps; 0 keeps the initial prefix."
    )

    @field_validator("num_virtual_tokens", mode="before")
    @classmethod
    def _parse_num_virtual_tokens(cls, value: object) -> int | Literal["all"]:
        number = str(value)
        if number != "all" and not (number.isdecimal() and int(number) > 0):
            raise PydanticCustomError("num_virtual_tokens", "choose a number of at least 1, or all")
        return "all" if number == "all" else int(number)

    @property
    def input_source(self) -> str | None:
        """Source of the inputs; None if the model writes them, or there are none."""
        return self.data if self.questions is None else self.questions

    @property
    def is_exact(self) -> bool:
        """Whether the whole text is compiled, without training."""
        return self.num_virtual_tokens == "all"

    def check_sources(self) -> None:
        """Check that there is one text to distill, and inputs to learn from if there is something to train.

        Raises:
            SettingError: There is no text, or several, or no inputs.
        """
        if len(self.source_kinds) != 1:
            given = f"{' and '.join(f'`{kind}`' for kind in self.source_kinds)} are" if self.source_kinds else "none is"
            raise SettingError(
                f"one text is distilled, and {given} given: pass `context` (an instruction), `examples` (a few-shot "
                "prompt) or `document`"
            )
        if self.questions is not None and (self.document is None or self.data is not None):
            raise SettingError("`questions` are inputs about a `document`, instead of `data`: pass one of them")
        if self.input_source is None and self.document is None and self.max_steps and not self.is_exact:
            raise SettingError(
                "there are no inputs to learn from: pass `data` with texts as users will send them, without answers. "
                'Or choose `max_steps=0`, which needs none, or `num_virtual_tokens="all"`, which keeps the whole text'
            )
