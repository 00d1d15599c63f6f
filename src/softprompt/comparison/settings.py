"""Everything a comparison depends on, in one value; what the command line and Python both come down to."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import Field, field_validator

from softprompt.training import TuneSettings
from softprompt.training.settings import SharedSettings, Source

WAYS = ("hard", "few-shot:8", "prompt", "prefix", "lora", "full")

#: Rates are tried in this order, as multiples of a way's own: first up and down by about a factor of three.
MULTIPLES = (1.0, 3.0, 0.3, 10.0, 0.1, 1.8, 0.55, 5.5, 0.18)


class CompareSettings(SharedSettings):
    """A comparison's settings; None where the default depends on something else.

    Its `steps` are each training's, and by its `validation` each way's rate and best step are chosen.

    Attributes:
        test: examples that nothing is chosen by; each way is measured on them once a seed.
        out_of_domain: examples of the same task from elsewhere, measured beside `test`.
        neutral: a text file that has nothing to do with the task, to measure forgetting by; a text of ours if None.
        ways: names of ways, with an argument behind a colon where they take one; or `module:Class`, your own.
        seeds: how many; they are 0, 1, …
        trials: how many learning rates each way may try.
        budget_minutes: instead of `steps`: the time that all trainings of the comparison may take together, the same
            for each.
        sizes: numbers of training examples for the low-data curve.
        sweep: what to vary within the soft prompts, by the name of a setting of `TuneSettings`.
        allow_overlap: go on where test examples are among the others.
        base_url: where an OpenAI-compatible API answers.
        api_model: the model to ask it for.
        api_prices: dollars per million prompt tokens and per million completion tokens.
    """

    test: Source
    out_of_domain: Source | None = None
    neutral: Path | None = None
    ways: tuple[str, ...] = Field(default=WAYS, min_length=1)
    seeds: int = Field(default=3, gt=0)
    trials: int = Field(default=3, gt=0, le=len(MULTIPLES))
    budget_minutes: float | None = Field(default=None, gt=0)
    sizes: tuple[int, ...] = ()
    sweep: Mapping[str, tuple[str, ...]] = Field(default_factory=dict)
    allow_overlap: bool = False
    base_url: str | None = None
    api_model: str | None = None
    api_prices: tuple[float, float] | None = None

    @field_validator("sizes", "sweep")
    @classmethod
    def _once(cls, value: Any) -> Any:
        """What stands there twice is measured once."""
        if isinstance(value, Mapping):
            return {name: tuple(dict.fromkeys(values)) for name, values in value.items()}
        return tuple(dict.fromkeys(value))

    def tuning(self, **more: Any) -> TuneSettings:
        """The same as settings of `tune`, with what a way or a training adds.

        Raises:
            SettingError: what is added cannot be.
        """
        return TuneSettings.of({**self.model_dump(include=set(SharedSettings.model_fields)), **more})
