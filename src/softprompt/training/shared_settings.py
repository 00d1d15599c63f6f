"""The settings that training runs and comparisons share, and how names and values become settings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator
from pydantic_core import PydanticCustomError

from softprompt.errors import SettingError
from softprompt.training.renamed_settings import RENAMED_SETTINGS, rename_settings
from softprompt.unicode_text import escape_surrogates, find_unicode_error


def _normalize_source(value: Any) -> Any:
    """Normalize a path, so that two spellings of it are one setting; names on the Hub stay as they are."""
    from softprompt.data.sources.hub_datasets import HUB_PREFIX  # not for a help page, which would take twice as long

    return str(value if str(value).startswith(HUB_PREFIX) else Path(value)) if isinstance(value, str | Path) else value


DataSource = Annotated[str, BeforeValidator(_normalize_source)]
"""A source of examples: a file, a folder, or a dataset on the Hub (`hf:NAME`)."""


TRAINING_DATA_DESCRIPTION = (
    "Training examples: JSONL, JSON, CSV, TSV, Parquet, a folder of save_to_disk, or hf:NAME[:1000] on the Hub."
)


class SettingGroup(StrEnum):
    """Group of settings, which is a panel of a command's help page; panels have the order of the groups."""

    TASK = "Task"
    PROMPT = "Prompt"
    TRAINING = "Training"
    MACHINE = "Machine"
    RUN = "Run"


Settings = TypeVar("Settings", bound="SharedSettings")


class SharedSettings(BaseModel):
    """Settings that training runs and comparisons share. None means that the default depends on other settings.

    The description of a field is also the help of its command-line option. It names a default only where the default
    depends on other settings.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str = Field(
        default="smollm2-135m",
        description="Base model: smollm2-135m (bundled), a folder, a .gguf file, or a Hub id.",
    )
    validation: DataSource | None = Field(
        default=None,
        description="Validation examples, which select the best step. [default: a tenth of the data is held out]",
    )
    max_eval_samples: int = Field(
        default=1000, ge=0, description="Maximum number of validation examples, sampled by label; 0 for all."
    )
    map: Mapping[str, str] = Field(
        default_factory=dict, description="Field names of the task to field names of the data, where they differ."
    )
    format: str | None = Field(
        default=None,
        description="classification, input-output, alpaca, chat, sharegpt, question (question-from-0, "
        "question-from-1, question-by-text), token-classification, extraction (extraction-utf-16, extraction-utf-8) "
        "or fields. [default: detected from the fields]",
    )
    output: Path = Field(description="Folder for the saved prompt. The run folder is OUTPUT.run.")
    task: Annotated[
        Literal["classification", "generation", "chat", "token-classification", "extraction"] | None, SettingGroup.TASK
    ] = Field(
        default=None,
        description="classification, generation, chat, token-classification or extraction. "
        "[default: chosen by the data format]",
    )
    template: Annotated[str | None, SettingGroup.TASK] = Field(
        default=None,
        description=r"Template of the prompt, with fields in braces and \n for a new line: "
        r"'Review: {text}\nSentiment:'. The answer follows the template.",
    )
    labels: Annotated[tuple[str, ...] | None, SettingGroup.TASK] = Field(
        default=None, description="Labels to choose from. [default: the labels in the data]"
    )
    verbalizer: Annotated[Mapping[str, str], SettingGroup.TASK] = Field(
        default_factory=dict, description="Word or phrase for each label, if different from the label."
    )
    label_field: Annotated[str, SettingGroup.TASK] = Field(default="label", description="Field with the label.")
    response_field: Annotated[str, SettingGroup.TASK] = Field(default="output", description="Field with the response.")
    max_steps: Annotated[int, SettingGroup.TRAINING] = Field(default=100, gt=0, description="Number of training steps.")
    batch_size: Annotated[int, SettingGroup.TRAINING] = Field(default=16, gt=0, description="Examples per micro-batch.")
    device: Annotated[str, SettingGroup.MACHINE] = Field(default="auto", description="auto, cpu, cuda, cuda:1, mps.")
    dtype: Annotated[str, SettingGroup.MACHINE] = Field(
        default="auto",
        description="auto, float32, bfloat16, float16, or quantized by bitsandbytes: int8, nf4.",
    )

    @field_validator("verbalizer", mode="before")
    @classmethod
    def _reject_word_lists(cls, value: Any) -> Any:
        """Reject a verbalizer with a list of words for a label."""
        if isinstance(value, Mapping) and any(isinstance(word, list | tuple) for word in value.values()):
            raise PydanticCustomError(
                "several_words", "a label has one word or phrase; lists of words are not supported"
            )
        return value

    @classmethod
    def from_dict(cls: type[Settings], values: Mapping[str, Any]) -> Settings:
        """Build settings from names and values. Names of an earlier version are translated.

        Raises:
            SettingError: If names or values are invalid; the message lists all of them.
        """
        values = rename_settings(values, {old: new for old, new in RENAMED_SETTINGS.items() if new in cls.model_fields})
        _check_unicode(values)
        try:
            return cls.model_validate(dict(values))
        except ValidationError as error:
            raise SettingError("; ".join(describe_validation_error(cls, e) for e in error.errors())) from error


def _check_unicode(values: Mapping[str, Any]) -> None:
    """Check that all texts are valid Unicode; bytes that a shell passed in another encoding are not."""
    for name, value in values.items():
        for text in _iter_texts(value):
            if fault := find_unicode_error(text):
                raise SettingError(f"`{name}`: '{escape_surrogates(text)}' {fault}: write it in UTF-8")


def _iter_texts(value: Any) -> Iterator[str]:
    """Yield the texts in a setting, at any depth."""
    match value:
        case str() | Path():
            yield str(value)
        case Mapping():
            yield from _iter_texts([*value.keys(), *value.values()])
        case list() | tuple():
            for item in value:
                yield from _iter_texts(item)


def describe_validation_error(settings_class: type[BaseModel], error: Any) -> str:
    """Describe an error of pydantic in terms of what the user wrote."""
    name = "".join(str(part) for part in error["loc"][:1])
    if error["type"] == "missing":
        return f"`{name}` is missing"
    if error["type"] == "extra_forbidden":
        return f"unknown setting {name!r}: one of {', '.join(settings_class.model_fields)}"
    return f"`{name}={_format_value(error['input'])}`: {error['msg'][0].lower()}{error['msg'][1:]}"


def _format_value(value: Any) -> str:
    """Format a value as Python writes it; a path as its text and an enumeration as its value."""
    return repr(str(value) if isinstance(value, Path | str) else value)
