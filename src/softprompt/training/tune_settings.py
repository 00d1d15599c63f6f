"""The settings of a training run. The command line, TOML files and Python keywords all become one `TuneSettings`."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator
from pydantic_core import PydanticCustomError

from softprompt.data.sources.hub_datasets import HUB_PREFIX
from softprompt.errors import SettingError
from softprompt.model import Placement
from softprompt.prompts import PromptOptions
from softprompt.unicode_text import escape_surrogates, find_unicode_error

logger = logging.getLogger(__name__)

#: Current name of each setting that was renamed since version 0.1.0; old TOML and run.json files have the old names.
RENAMED_SETTINGS: Mapping[str, str] = {
    "steps": "max_steps",
    "validation_rows": "max_eval_samples",
    "virtual_tokens": "num_virtual_tokens",
    "encoder_hidden": "encoder_hidden_size",
    "accumulate": "gradient_accumulation_steps",
    "warmup": "warmup_ratio",
    "clip": "max_grad_norm",
    "evaluate_every": "eval_steps",
    "patience": "early_stopping_patience",
    "save_every": "save_steps",
}


def rename_settings(
    values: Mapping[str, Any], renamed: Mapping[str, str] = RENAMED_SETTINGS, *, quiet: bool = False
) -> dict[str, Any]:
    """Translate earlier names of settings to current ones, and log which names were translated.

    Args:
        values: Setting values by name, with underscores.
        renamed: Current name by earlier name.
        quiet: Whether to skip the log line.

    Raises:
        SettingError: If a setting is given under both names.
    """
    earlier_names = [name for name in values if name in renamed]
    for name in earlier_names:
        if renamed[name] in values:
            raise SettingError(f"`{name}` is the earlier name of `{renamed[name]}`: pass only the latter")
    if earlier_names and not quiet:
        logger.info(
            "settings have new names: %s", ", ".join(f"`{name}` is now `{renamed[name]}`" for name in earlier_names)
        )
    return {renamed.get(name, name): value for name, value in values.items()}


def _normalize_source(value: Any) -> Any:
    """Normalize a path, so that two spellings of it are one setting; names on the Hub stay as they are."""
    return str(value if str(value).startswith(HUB_PREFIX) else Path(value)) if isinstance(value, str | Path) else value


DataSource = Annotated[str, BeforeValidator(_normalize_source)]
"""A source of examples: a file, a folder, or a dataset on the Hub (`hf:NAME`)."""


Settings = TypeVar("Settings", bound="SharedSettings")


class SharedSettings(BaseModel):
    """Settings that training runs and comparisons share. None means that the default depends on other settings.

    Attributes:
        model: Base model: the bundled model's name, a folder, a `.gguf` file, or a Hub id.
        data: Training examples: a file, a folder, or `hf:` and a name on the Hub.
        validation: Examples that select the best step. By default a tenth of `data` is held out, at most 1,000.
        max_eval_samples: Maximum number of validation examples per evaluation; 0 evaluates all. The sample keeps the
            share of each label.
        map: Field names of the task to field names of the data, where they differ.
        format: Format of the data; detected from the field names by default.
        output: Folder of the result.
        task: `classification`, `generation`, `chat`, `token-classification` or `extraction`; detected from the data's
            fields by default.
        template: Text around the fields of an example, as the model sees it.
        labels: Labels to choose from; collected from the data by default.
        verbalizer: Word of each label that the model says instead of the label.
        label_field: Name of the field with the label.
        response_field: Name of the field with the response.
        max_steps: Number of optimizer steps.
        batch_size: Number of examples in one forward and backward pass.
        device: `auto`, `cpu`, `cuda`, …
        dtype: `auto`, `float32`, `bfloat16`, `float16`, or quantized: `int8`, `nf4`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str = "smollm2-135m"
    data: DataSource
    validation: DataSource | None = None
    max_eval_samples: int = Field(default=1000, ge=0)
    map: Mapping[str, str] = Field(default_factory=dict)
    format: str | None = None
    output: Path
    task: Literal["classification", "generation", "chat", "token-classification", "extraction"] | None = None
    template: str | None = None
    labels: tuple[str, ...] | None = None
    verbalizer: Mapping[str, str] = Field(default_factory=dict)
    label_field: str = "label"
    response_field: str = "output"
    max_steps: int = Field(default=100, gt=0)
    batch_size: int = Field(default=16, gt=0)
    device: str = "auto"
    dtype: str = "auto"

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


class TuneSettings(SharedSettings):
    """Settings of a training run. None means that the default depends on other settings.

    The run keeps its own files in `<output>.run`.

    Attributes:
        task_field: Name of the field that holds an example's task, if several tasks are trained together.
        method: Tuning method.
        num_virtual_tokens: Number of virtual tokens, P. For methods that show examples it is the maximum.
        init: What the virtual tokens start from.
        encoder: `none`, `mlp` or `lstm`, if the method has an encoder.
        encoder_hidden_size: Width of the encoder.
        placement: Position of the virtual tokens in the sequence.
        freeze_sink: Whether to keep the first virtual token's keys.
        layers: Number of top layers in which a prefix is trained; all layers by default.
        head: `verbalizer` or `linear`.
        task_rank: Rank of each task's own part, if several tasks are trained together.
        gradient_accumulation_steps: Number of micro-batches per optimizer step.
        learning_rate: AdamW's learning rate. By default it is a fraction of the embeddings' scale that suits the
            method.
        warmup_ratio: Share of the steps in which the learning rate rises.
        weight_decay: AdamW's weight decay.
        max_grad_norm: Maximum norm of the gradient.
        eval_steps: Number of steps between evaluations; by default a quarter of the run.
        early_stopping_patience: Number of evaluations without improvement after which the run stops; by default it
            never stops early.
        save_steps: Number of steps between checkpoints; by default as for evaluations.
        seed: Seed of all random numbers.
        gradient_checkpointing: Whether to recompute layers in the backward pass to save memory.
    """

    task_field: str | None = None
    method: str = "prefix"
    num_virtual_tokens: int | None = None
    init: str = "text"
    encoder: str | None = None
    encoder_hidden_size: int | None = Field(default=None, gt=0)
    placement: Placement = Placement.BEFORE
    freeze_sink: bool = False
    layers: int | None = None
    head: str | None = None
    task_rank: int = Field(default=1, gt=0)
    gradient_accumulation_steps: int = Field(default=1, gt=0)
    learning_rate: float | None = Field(default=None, gt=0, le=1000)
    warmup_ratio: float = Field(default=0.1, ge=0, le=1)
    weight_decay: float = Field(default=0.0, ge=0)
    max_grad_norm: float = Field(default=1.0, gt=0)
    eval_steps: int | None = Field(default=None, gt=0)
    early_stopping_patience: int | None = Field(default=None, gt=0)
    save_steps: int | None = Field(default=None, gt=0)
    seed: int = Field(default=0, ge=0)
    gradient_checkpointing: bool = False

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

    def to_prompt_options(self) -> PromptOptions:
        """Return the options that define the prompt."""
        return PromptOptions(
            method=self.method,
            num_virtual_tokens=self.num_virtual_tokens,
            init=self.init,
            encoder=self.encoder,
            encoder_hidden_size=self.encoder_hidden_size,
            placement=self.placement,
            freeze_sink=self.freeze_sink,
            layers=self.layers,
            head=self.head,
            task_rank=self.task_rank,
            seed=self.seed,
        )


def get_run_folder(output: Path) -> Path:
    """Return the folder in which the run that writes `output` keeps its own files; it is beside `output`.

    Raises:
        SettingError: If the path has no name, as `.` does not.
    """
    if not output.name:
        raise SettingError(
            f"`output={str(output)!r}` has no name: choose a named folder, since the run's files go beside it"
        )
    return output.with_name(output.name + ".run")


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
