"""Runs of a sweep read their data and put them in tokens once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from softprompt.model import FrozenModel
from softprompt.training import shared_data
from softprompt.training.many import ready_together
from softprompt.training.settings import TuneSettings
from softprompt.training.tuning import Ready
from tests.tiny import tiny_model


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often data were read, and examples were put in tokens."""
    counts: Counter[str] = Counter()
    for name in ("read", "encode", "encode_compactly"):
        monkeypatch.setattr(shared_data, name, _counted(name, getattr(shared_data, name), counts))
    return counts


def _counted(name: str, call: Callable[..., Any], counts: Counter[str]) -> Callable[..., Any]:
    def counted(*arguments: Any) -> Any:
        counts[name] += 1
        return call(*arguments)

    return counted


def settings_of(data: Path, output: Path, **more: Any) -> TuneSettings:
    given = {"data": data, "validation": data, "output": output, "steps": 1, "virtual_tokens": 4, **more}
    return TuneSettings.of({"model": "tiny", **given})


def test_a_sweep_reads_and_encodes_once(reviews: Path, tmp_path: Path, calls: Counter[str]) -> None:
    more = [{"learning_rate": rate, "seed": seed} for rate in (0.1, 0.2) for seed in (0, 1)]
    runs = {str(i): settings_of(reviews, tmp_path / str(i), **each) for i, each in enumerate(more)}
    ready_together(runs, tiny_model("llama"))
    assert calls == {"read": 1, "encode": 1, "encode_compactly": 1}


def test_fewer_virtual_tokens_share_what_was_not_cut(reviews: Path, tmp_path: Path, calls: Counter[str]) -> None:
    runs = {str(n): settings_of(reviews, tmp_path / str(n), virtual_tokens=n) for n in (8, 4, 2)}
    ready_together(runs, tiny_model("llama"))
    assert calls == {"read": 1, "encode": 1, "encode_compactly": 1}


def test_another_template_is_encoded_by_itself_and_read_once(
    reviews: Path, tmp_path: Path, calls: Counter[str]
) -> None:
    templates = ("{text} :", "It says {text}")
    runs = {each: settings_of(reviews, tmp_path / str(i), template=each) for i, each in enumerate(templates)}
    ready_together(runs, tiny_model("llama"))
    assert calls == {"read": 1, "encode": 2, "encode_compactly": 2}


def test_shared_runs_are_those_that_are_made_ready_alone(reviews: Path, tmp_path: Path) -> None:
    model: FrozenModel = tiny_model("llama")
    more: list[dict[str, Any]] = [
        {"virtual_tokens": 90},  # so many that texts are cut
        {"virtual_tokens": 90, "learning_rate": 0.5},
        {"virtual_tokens": 4},
        {"virtual_tokens": 95, "seed": 3},
        {"validation": None, "seed": 3},
        {"validation": None, "seed": 4},
        {"head": "linear", "virtual_tokens": 90},
    ]
    runs = {
        str(i): settings_of(reviews, tmp_path / str(i), template="Review: {text} and once more {text}\nIt was", **each)
        for i, each in enumerate(more)
    }
    together = ready_together(runs, model)
    for name, settings in runs.items():
        alone, shared = Ready.of(settings, model).job, together[name].job
        assert list(shared.rows) == list(alone.rows)
        assert list(shared.rows.lengths) == list(alone.rows.lengths)
        assert list(shared.validation) == list(alone.validation)
        assert [e.where for e in shared.held_out] == [e.where for e in alone.held_out]
        assert (shared.start, shared.task, shared.peak) == (alone.start, alone.task, alone.peak)
    assert any(row.cut for row in together["0"].job.rows)
    assert not any(row.cut for row in together["2"].job.rows)
