"""Fixtures: a fake API on loopback, and an experiment without a model."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from softprompt.comparison.experiment.compare_settings import CompareSettings
from softprompt.comparison.experiment.experiment import Experiment
from softprompt.data import read_examples
from softprompt.tasks import Task
from tests.comparison.methods.api.api_harness import Asked
from tests.model_api.fake_openai import KEY, FakeApi, serving


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeApi]:
    """Fake API, whose key is in the environment."""
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    with serving() as fake:
        yield fake


@pytest.fixture
def bench_of(write_jsonl: Callable[[str, Sequence[Any]], Path], tmp_path: Path) -> Callable[..., Experiment]:
    """Function that makes an experiment with the same examples in every split; its model cannot be loaded."""

    def make(task: Task, rows: Sequence[Any], **settings: Any) -> Experiment:
        path = write_jsonl("test.jsonl", rows)
        values = {"model": "no-such-model", "data": path, "test": path, "output": tmp_path / "report", **settings}
        examples = read_examples(path)
        return Experiment(CompareSettings.from_dict(values), task, examples, examples, examples, None, {})

    return make


@pytest.fixture
def asked(api: FakeApi, bench_of: Callable[..., Experiment]) -> Asked:
    """Harness of the API method, for records that the test chooses."""
    return Asked(api, bench_of)
