"""Runs of a sweep read and encode their data once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from softprompt.model import FrozenModel
from softprompt.training import dataset_cache
from softprompt.training.concurrent_runs import prepare_runs
from softprompt.training.prepared_run import PreparedRun
from softprompt.training.tune_settings import TuneSettings
from tests.tiny import tiny_model


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Counts of reads of data and of encodings of examples."""
    counts: Counter[str] = Counter()
    for name in ("load_examples", "encode_dataset", "encode_compact_examples"):
        monkeypatch.setattr(dataset_cache, name, _count_calls(name, getattr(dataset_cache, name), counts))
    return counts


def _count_calls(name: str, call: Callable[..., Any], counts: Counter[str]) -> Callable[..., Any]:
    def counted(*arguments: Any) -> Any:
        counts[name] += 1
        return call(*arguments)

    return counted


def make_settings(data: Path, output: Path, **overrides: Any) -> TuneSettings:
    values = {"data": data, "validation": data, "output": output, "max_steps": 1, "num_virtual_tokens": 4, **overrides}
    return TuneSettings.from_dict({"model": "tiny", **values})


def test_sweep_reads_and_encodes_data_once(reviews: Path, tmp_path: Path, calls: Counter[str]) -> None:
    overrides = [{"learning_rate": rate, "seed": seed} for rate in (0.1, 0.2) for seed in (0, 1)]
    runs = {str(i): make_settings(reviews, tmp_path / str(i), **each) for i, each in enumerate(overrides)}
    prepare_runs(runs, tiny_model("llama"))
    assert calls == {"load_examples": 1, "encode_dataset": 1, "encode_compact_examples": 1}


def test_runs_with_fewer_virtual_tokens_share_untruncated_dataset(
    reviews: Path, tmp_path: Path, calls: Counter[str]
) -> None:
    runs = {str(n): make_settings(reviews, tmp_path / str(n), num_virtual_tokens=n) for n in (8, 4, 2)}
    prepare_runs(runs, tiny_model("llama"))
    assert calls == {"load_examples": 1, "encode_dataset": 1, "encode_compact_examples": 1}


def test_data_with_another_template_is_encoded_separately_and_read_once(
    reviews: Path, tmp_path: Path, calls: Counter[str]
) -> None:
    templates = ("{text} :", "It says {text}")
    runs = {each: make_settings(reviews, tmp_path / str(i), template=each) for i, each in enumerate(templates)}
    prepare_runs(runs, tiny_model("llama"))
    assert calls == {"load_examples": 1, "encode_dataset": 2, "encode_compact_examples": 2}


def test_runs_prepared_with_shared_cache_equal_runs_prepared_alone(reviews: Path, tmp_path: Path) -> None:
    model: FrozenModel = tiny_model("llama")
    overrides: list[dict[str, Any]] = [
        {"num_virtual_tokens": 90},  # so many that texts are truncated
        {"num_virtual_tokens": 90, "learning_rate": 0.5},
        {"num_virtual_tokens": 4},
        {"num_virtual_tokens": 95, "seed": 3},
        {"validation": None, "seed": 3},
        {"validation": None, "seed": 4},
        {"head": "linear", "num_virtual_tokens": 90},
    ]
    runs = {
        str(i): make_settings(
            reviews, tmp_path / str(i), template="Review: {text} and once more {text}\nIt was", **each
        )
        for i, each in enumerate(overrides)
    }
    together = prepare_runs(runs, model)
    for name, settings in runs.items():
        alone, shared = PreparedRun.from_settings(settings, model).setup, together[name].setup
        assert list(shared.train_dataset) == list(alone.train_dataset)
        assert list(shared.train_dataset.lengths) == list(alone.train_dataset.lengths)
        assert list(shared.validation_dataset) == list(alone.validation_dataset)
        assert [e.location for e in shared.validation_examples] == [e.location for e in alone.validation_examples]
        assert (shared.init_description, shared.task, shared.peak_learning_rate) == (
            alone.init_description,
            alone.task,
            alone.peak_learning_rate,
        )
    assert any(row.is_truncated for row in together["0"].setup.train_dataset)
    assert not any(row.is_truncated for row in together["2"].setup.train_dataset)
