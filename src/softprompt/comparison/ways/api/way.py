"""The template in front of a model that somebody else runs: nothing is trained, and each answer is paid for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from softprompt.comparison.bench import Bench
from softprompt.comparison.settings import CompareSettings
from softprompt.comparison.way import Fitted, Kind, Trial, Way
from softprompt.comparison.ways.api.address import Address
from softprompt.comparison.ways.api.limits import Limits
from softprompt.comparison.ways.api.spoken import spoken
from softprompt.errors import SettingError
from softprompt.training import Watcher


class ApiWay(Way):
    """The template as it is, sent to an OpenAI-compatible API."""

    kind, learns, repeats, runs_here = Kind.API, False, False, False

    def __init__(self, argument: str | None = None, limits: Limits | None = None):
        self.model, self.limits = argument or None, limits or Limits()
        self.title = f"hard prompt through an API{f': {argument}' if argument else ''}"

    def uses(self, settings: CompareSettings) -> Mapping[str, Any]:
        """Who is asked."""
        return {"base_url": settings.base_url, "model": self.model or settings.api_model}

    def fit(self, bench: Bench, trial: Trial, watcher: Watcher) -> Fitted:  # noqa: ARG002
        """Find out whom to ask, and ask nothing yet: the first request tells whether the key and the model are right.

        Raises:
            SettingError: no model is named, there is no key, the address is none, or openai is not installed.
            TaskError: the task is not to be had in words.
        """
        task, model = spoken(bench.task), self._model(bench.settings)
        address = Address.of(bench.settings.base_url)
        try:
            from softprompt.comparison.ways.api.answered import Answered
            from softprompt.comparison.ways.api.asking import Api
            from softprompt.comparison.ways.api.fitted import FittedApi
        except ImportError as error:
            raise SettingError("openai is not installed: pip install 'softprompt[compare]'") from error
        stored = len(bench.task.template.encode())
        answered = Answered(bench.settings.output / "answers", address.url, model)
        return FittedApi(Api(address, model, self.limits, answered), task, stored)

    def _model(self, settings: CompareSettings) -> str:
        model = self.model or settings.api_model
        if model is None:
            raise SettingError('`ways=["api"]`: no model to ask: give `api_model`, or `ways=["api:MODEL"]`')
        return model
