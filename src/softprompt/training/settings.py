"""Everything a run depends on, in one value; what the command line, a TOML file and Python all come down to."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator
from pydantic_core import PydanticCustomError

from softprompt.data.hub import PREFIX
from softprompt.errors import SettingError
from softprompt.model import Placement
from softprompt.prompts import PromptOptions
from softprompt.unicode_text import fault_of, readable


def _source(value: Any) -> Any:
    """A path in its shortest form, so that two ways to write it are one setting; a name of the Hub as it is."""
    return str(value if str(value).startswith(PREFIX) else Path(value)) if isinstance(value, str | Path) else value


Source = Annotated[str, BeforeValidator(_source)]
"""Where examples come from: a file, a folder, or a data set of the Hub."""


Settings = TypeVar("Settings", bound="SharedSettings")


class SharedSettings(BaseModel):
    """What a training and a comparison both depend on; None where the default depends on something else.

    Attributes:
        model: the embedded model's name, a folder, a `.gguf` file, or a Hub id.
        data: examples to learn from: a file, a folder, or `hf:` and a name on the Hub.
        validation: examples to choose the best step by; a tenth of `data`, at most 1,000, if None.
        validation_rows: how many of them are measured at most, drawn with the share of each label; 0 for all.
        map: our names of fields to the data's own, where they differ.
        format: what the data's fields mean; told by their names if None.
        output: the folder of what is made.
        task: `classification`, `generation` or `chat`; None: whichever the data's fields fit.
        template: what the model sees of an example.
        labels: what to choose from; found in the data if None.
        verbalizer: what the model says for a label, where that is not the label.
        label_field: the field with the label.
        response_field: the field with the response.
        steps: updates in all.
        batch_size: examples in one forward and backward pass.
        device: `auto`, `cpu`, `cuda`, …
        dtype: `auto`, `float32`, `bfloat16`, `float16`, or quantised: `int8`, `nf4`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str = "smollm2-135m"
    data: Source
    validation: Source | None = None
    validation_rows: int = Field(default=1000, ge=0)
    map: Mapping[str, str] = Field(default_factory=dict)
    format: str | None = None
    output: Path
    task: Literal["classification", "generation", "chat", "token-classification", "extraction"] | None = None
    template: str | None = None
    labels: tuple[str, ...] | None = None
    verbalizer: Mapping[str, str] = Field(default_factory=dict)
    label_field: str = "label"
    response_field: str = "output"
    steps: int = Field(default=100, gt=0)
    batch_size: int = Field(default=16, gt=0)
    device: str = "auto"
    dtype: str = "auto"

    @field_validator("verbalizer", mode="before")
    @classmethod
    def _one_word(cls, value: Any) -> Any:
        """A verbalizer in which each label has one word, and not several in a list."""
        if isinstance(value, Mapping) and any(isinstance(word, list | tuple) for word in value.values()):
            raise PydanticCustomError(
                "several_words", "a label has one word or phrase, and several to choose from are not supported"
            )
        return value

    @classmethod
    def of(cls: type[Settings], values: Mapping[str, Any]) -> Settings:
        """Settings from names and values.

        Raises:
            SettingError: a name or a value that cannot be, all of them listed.
        """
        _check_unicode(values)
        try:
            return cls.model_validate(dict(values))
        except ValidationError as error:
            raise SettingError("; ".join(complaint(cls, e) for e in error.errors())) from error


class TuneSettings(SharedSettings):
    """A run's settings; None where the default depends on something else. Its own files go to `<output>.run`.

    Attributes:
        task_field: the field that names an example's task, where several are learnt together.
        method: how the prompt is made.
        virtual_tokens: P; of a method that shows examples, the most that they may need.
        init: what the virtual tokens start from.
        encoder: `none`, `mlp` or `lstm`, as far as the method has it.
        encoder_hidden: its width.
        placement: where the virtual tokens stand.
        freeze_sink: keep the first virtual token's keys.
        layers: in how many of the top layers a prefix trains; in all if None.
        head: `verbalizer` or `linear`.
        task_rank: the rank of what is each task's own, where several are learnt together.
        accumulate: passes in one update.
        learning_rate: AdamW's; by default a fraction of the embeddings' scale that suits the method.
        warmup: the share of the steps in which the rate rises.
        weight_decay: AdamW's.
        clip: the largest norm of the gradient.
        evaluate_every: steps from one evaluation to the next; a quarter of the run if None.
        patience: stop after this many evaluations without a better one; never if None.
        save_every: steps from one checkpoint to the next; as often as it evaluates if None.
        seed: of every random number.
        gradient_checkpointing: recompute layers in the backward pass to save memory.
    """

    task_field: str | None = None
    method: str = "prefix"
    virtual_tokens: int | None = None
    init: str = "text"
    encoder: str | None = None
    encoder_hidden: int | None = Field(default=None, gt=0)
    placement: Placement = Placement.BEFORE
    freeze_sink: bool = False
    layers: int | None = None
    head: str | None = None
    task_rank: int = Field(default=1, gt=0)
    accumulate: int = Field(default=1, gt=0)
    learning_rate: float | None = Field(default=None, gt=0, le=1000)
    warmup: float = Field(default=0.1, ge=0, le=1)
    weight_decay: float = Field(default=0.0, ge=0)
    clip: float = Field(default=1.0, gt=0)
    evaluate_every: int | None = Field(default=None, gt=0)
    patience: int | None = Field(default=None, gt=0)
    save_every: int | None = Field(default=None, gt=0)
    seed: int = Field(default=0, ge=0)
    gradient_checkpointing: bool = False

    @property
    def evaluation_interval(self) -> int:
        """Steps from one evaluation to the next."""
        return self.evaluate_every or max(1, self.steps // 4)

    @property
    def checkpoint_interval(self) -> int:
        """Steps from one checkpoint to the next."""
        return self.save_every or self.evaluation_interval

    @property
    def run_folder(self) -> Path:
        """Where the run keeps its own files."""
        return run_folder_of(self.output)

    def prompt_options(self) -> PromptOptions:
        """The part that says how the prompt is made."""
        return PromptOptions(
            method=self.method,
            num_virtual_tokens=self.virtual_tokens,
            init=self.init,
            encoder=self.encoder,
            encoder_hidden=self.encoder_hidden,
            placement=self.placement,
            freeze_sink=self.freeze_sink,
            layers=self.layers,
            head=self.head,
            task_rank=self.task_rank,
            seed=self.seed,
        )


def run_folder_of(output: Path) -> Path:
    """Where the run that makes `output` keeps its own files: beside it.

    Raises:
        SettingError: it has no name, as `.` has none.
    """
    if not output.name:
        raise SettingError(f"`output={str(output)!r}`: name a folder; the run's own files go beside it")
    return output.with_name(output.name + ".run")


def _check_unicode(values: Mapping[str, Any]) -> None:
    """Whether every text is Unicode: bytes that a shell passed in another encoding are not."""
    for name, value in values.items():
        for text in _texts(value):
            if fault := fault_of(text):
                raise SettingError(f"`{name}`: '{readable(text)}' {fault}: write it in UTF-8")


def _texts(value: Any) -> Iterator[str]:
    """The texts in a setting, however deep."""
    match value:
        case str() | Path():
            yield str(value)
        case Mapping():
            yield from _texts([*value.keys(), *value.values()])
        case list() | tuple():
            for each in value:
                yield from _texts(each)


def complaint(settings: type[BaseModel], error: Any) -> str:
    """What pydantic complains of, as the user wrote it."""
    name = "".join(str(part) for part in error["loc"][:1])
    if error["type"] == "missing":
        return f"`{name}` is missing"
    if error["type"] == "extra_forbidden":
        return f"unknown setting {name!r}: one of {', '.join(settings.model_fields)}"
    return f"`{name}={_literal(error['input'])}`: {error['msg'][0].lower()}{error['msg'][1:]}"


def _literal(value: Any) -> str:
    """A value as Python writes it; of a path its text, of an enumeration its value."""
    return repr(str(value) if isinstance(value, Path | str) else value)
