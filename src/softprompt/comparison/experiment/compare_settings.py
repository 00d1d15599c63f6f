"""The settings of a comparison, shared by the command line and Python."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import Field, field_validator

from softprompt.distillation import DistillSettings
from softprompt.distillation.source_settings import SourceSettings
from softprompt.training import TuneSettings
from softprompt.training.shared_settings import TRAINING_DATA_DESCRIPTION, DataSource, SharedSettings

DEFAULT_METHODS = ("hard", "few-shot:8", "prompt", "prefix", "lora", "full")

#: Learning rates are tried in this order, as multiples of a method's default: first by about a factor of three.
LR_MULTIPLIERS = (1.0, 3.0, 0.3, 10.0, 0.1, 1.8, 0.55, 5.5, 0.18)


class CompareSettings(SourceSettings, SharedSettings):
    """The settings of a comparison; None where the default depends on other settings.

    `max_steps` applies to each training run. `validation` selects the learning rate and the best step of each method.
    `context`, `examples` or `document` is the text of the methods `document`, `distil` and `truncate`.

    Attributes:
        test: held-out test set, used only for the final scores, once per seed.
        out_of_domain: examples of the same task from another domain, measured like `test`.
        reference_text: text file unrelated to the task, to measure forgetting; None for a built-in text.
        methods: names of methods, with an argument after a colon where supported; or `module:Class` for a custom one.
        seeds: number of seeds, which are 0, 1, …
        trials: number of learning rates tried per method.
        budget_minutes: total time in minutes of all training runs, shared evenly; replaces `max_steps`.
        train_sizes: numbers of training examples for the low-data curve.
        sweep: values to try for settings of `TuneSettings`, for each soft prompt.
        allow_overlap: continue even if test examples also occur in the training or validation data.
        base_url: base URL of an OpenAI-compatible API.
        api_model: name of the API's model.
        api_prices: US dollars per million prompt tokens and per million completion tokens.
    """

    data: DataSource = Field(description=TRAINING_DATA_DESCRIPTION)
    test: DataSource
    out_of_domain: DataSource | None = None
    reference_text: Path | None = None
    methods: tuple[str, ...] = Field(default=DEFAULT_METHODS, min_length=1)
    seeds: int = Field(default=3, gt=0)
    trials: int = Field(default=3, gt=0, le=len(LR_MULTIPLIERS))
    budget_minutes: float | None = Field(default=None, gt=0)
    train_sizes: tuple[int, ...] = ()
    sweep: Mapping[str, tuple[str, ...]] = Field(default_factory=dict)
    allow_overlap: bool = False
    base_url: str | None = None
    api_model: str | None = None
    api_prices: tuple[float, float] | None = None

    @field_validator("train_sizes", "sweep")
    @classmethod
    def _deduplicate(cls, value: Any) -> Any:
        """Remove repeated values."""
        if isinstance(value, Mapping):
            return {name: tuple(dict.fromkeys(values)) for name, values in value.items()}
        return tuple(dict.fromkeys(value))

    def to_tune_settings(self, **overrides: Any) -> TuneSettings:
        """Return the shared settings as settings of `tune`, with overrides.

        Raises:
            SettingError: an override is invalid.
        """
        return TuneSettings.from_dict({**self.model_dump(include={*SharedSettings.model_fields, "data"}), **overrides})

    def to_distill_settings(self, **overrides: Any) -> DistillSettings:
        """Return the shared settings as settings of `distil`, with overrides.

        Raises:
            SettingError: an override is invalid.
        """
        names = {*SharedSettings.model_fields, *SourceSettings.model_fields, "data"}
        return DistillSettings.from_dict({**self.model_dump(include=names), **overrides})
