"""The API way, fitted to some rows and ready to be measured."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from softprompt.comparison.bench import Bench
from softprompt.comparison.way import Fitted, Measured, Trial
from softprompt.comparison.ways.api.limits import Limits
from softprompt.comparison.ways.api.way import ApiWay
from softprompt.errors import ApiFailed
from softprompt.tasks import ClassificationTask, Task
from softprompt.training.watching import Unwatched
from tests.comparison.ways.api.fake import KEY, FakeApi, Messages

TASK = ClassificationTask(template="[P1-4]Review: {text}\nLabel:", labels=("bad", "good", "mixed"))
ROWS = [
    {"text": "great fun", "label": "good"},
    {"text": "a bore", "label": "bad"},
    {"text": "lovely", "label": "good"},
    {"text": "so so", "label": "mixed"},
]
SAID = {"great fun": "good", "a bore": "Bad.", "lovely": "bad", "so so": "I cannot say"}
MANY = [{"text": f"film {i}", "label": "good"} for i in range(24)]
BenchOf = Callable[..., Bench]


def says(replies: dict[str, str]) -> Callable[[Messages], str]:
    """A model that answers by what a user's message contains."""
    return lambda messages: next(reply for text, reply in replies.items() if text in messages[-1]["content"])


class Asked:
    """The API way, fitted to some rows and ready to be measured."""

    def __init__(self, api: FakeApi, bench_of: BenchOf):
        self.api, self.bench_of = api, bench_of

    def fitted(
        self,
        rows: Sequence[Any] = ROWS,
        task: Task = TASK,
        limits: Limits | None = None,
        argument: str | None = "tiny",
        **settings: Any,
    ) -> tuple[Fitted, Bench]:
        bench = self.bench_of(task, rows, **{"base_url": self.api.url, **settings})
        return ApiWay(argument, limits).fit(bench, Trial(bench.training), Unwatched()), bench

    def measured(self, *args: Any, **kwargs: Any) -> Measured:
        fitted, bench = self.fitted(*args, **kwargs)
        return fitted.measured(bench.test)

    def fails(self, words: str, *args: Any, **kwargs: Any) -> ApiFailed:
        """Measuring fails like this, and the key is nowhere in what is raised."""
        with pytest.raises(ApiFailed, match=words) as caught:
            self.measured(*args, **kwargs)
        assert KEY not in f"{caught.value}{caught.value!r}{caught.getrepr(chain=True)}"
        return caught.value
