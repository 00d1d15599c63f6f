"""Harness of the API method: fits the method to examples and evaluates the result."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from softprompt.comparison.experiment.experiment import Experiment
from softprompt.comparison.methods.adaptation_method import FitConfig
from softprompt.comparison.methods.api.api_method import ApiMethod
from softprompt.comparison.methods.fitted_model import EvalResult, FittedModel
from softprompt.errors import ModelApiError
from softprompt.model_api.request_limits import RequestLimits
from softprompt.tasks import ClassificationTask, Task
from softprompt.training.callbacks import NullCallback
from tests.model_api.fake_openai import KEY, FakeApi, Messages

TASK = ClassificationTask(template="[P1-4]Review: {text}\nLabel:", labels=("bad", "good", "mixed"))
ROWS = [
    {"text": "great fun", "label": "good"},
    {"text": "a bore", "label": "bad"},
    {"text": "lovely", "label": "good"},
    {"text": "so so", "label": "mixed"},
]
SAID = {"great fun": "good", "a bore": "Bad.", "lovely": "bad", "so so": "I cannot say"}
MANY = [{"text": f"film {i}", "label": "good"} for i in range(24)]
BenchOf = Callable[..., Experiment]


def says(replies: dict[str, str]) -> Callable[[Messages], str]:
    """Make a fake model's reply function: the reply depends on the text that the user's message contains."""
    return lambda messages: next(reply for text, reply in replies.items() if text in messages[-1]["content"])


class Asked:
    """Harness that fits the API method to records against a fake API, and evaluates it."""

    def __init__(self, api: FakeApi, bench_of: BenchOf):
        self.api, self.bench_of = api, bench_of

    def fitted(
        self,
        rows: Sequence[Any] = ROWS,
        task: Task = TASK,
        limits: RequestLimits | None = None,
        argument: str | None = "tiny",
        **settings: Any,
    ) -> tuple[FittedModel, Experiment]:
        experiment = self.bench_of(task, rows, **{"base_url": self.api.url, **settings})
        return ApiMethod(argument, limits).fit(experiment, FitConfig(experiment.training), NullCallback()), experiment

    def measured(self, *args: Any, **kwargs: Any) -> EvalResult:
        fitted, experiment = self.fitted(*args, **kwargs)
        return fitted.evaluate(experiment.test)

    def fails(self, words: str, *args: Any, **kwargs: Any) -> ModelApiError:
        """Check that the evaluation fails with these words, and that the error contains no key."""
        with pytest.raises(ModelApiError, match=words) as caught:
            self.measured(*args, **kwargs)
        assert KEY not in f"{caught.value}{caught.value!r}{caught.getrepr(chain=True)}"
        return caught.value
