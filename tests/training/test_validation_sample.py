"""Stratified samples of the validation examples."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from softprompt.data import ExampleDataset
from softprompt.errors import RecordError
from softprompt.training.example_splits import load_examples, split_train_validation
from softprompt.training.task_builder import build_task
from softprompt.training.tune_settings import TuneSettings
from softprompt.training.validation_sample import allocate_proportionally

Write = Callable[[str, Sequence[Any]], Path]


def labelled(counts: dict[str, int]) -> list[dict[str, Any]]:
    return [{"text": f"{label} {i}", "label": label} for label, count in counts.items() for i in range(count)]


@pytest.fixture
def held_out(write_jsonl: Write) -> Callable[..., ExampleDataset]:
    """Function that returns the validation examples of a run."""

    def split(rows: Sequence[Any], **settings: Any) -> ExampleDataset:
        data = write_jsonl("train.jsonl", labelled({"a": 3, "b": 3, "c": 3}))
        validation = write_jsonl("val.jsonl", rows)
        settings_value = TuneSettings(data=data, validation=validation, output="p", **settings)
        examples = load_examples(settings_value)
        return split_train_validation(settings_value, examples, build_task(settings_value, examples["data"]))[1]

    return split


def test_sample_keeps_label_shares_with_at_least_one_each(
    held_out: Callable[..., ExampleDataset], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    sample = held_out(labelled({"a": 200, "b": 99, "c": 1}), max_eval_samples=30)
    assert Counter(example.get_text("label") for example in sample) == {"a": 20, "b": 9, "c": 1}
    assert "30 of 300 validation examples are evaluated" in caplog.text
    assert "`max_eval_samples`" in caplog.text


def test_sample_is_independent_of_the_seed_and_keeps_file_order(held_out: Callable[..., ExampleDataset]) -> None:
    rows = labelled({"a": 50, "b": 40})
    sample = [[e.location for e in held_out(rows, max_eval_samples=10, seed=seed)] for seed in (0, 7)]
    assert sample[0] == sample[1] == sorted(sample[0], key=lambda where: int(where.rpartition(":")[2]))


def test_default_sample_limit_is_a_thousand_and_zero_means_all(held_out: Callable[..., ExampleDataset]) -> None:
    rows = labelled({"a": 700, "b": 700})
    assert len(held_out(rows)) == 1000
    assert len(held_out(rows, max_eval_samples=0)) == 1400


def test_few_examples_are_all_evaluated_without_a_log_line(
    held_out: Callable[..., ExampleDataset], caplog: pytest.LogCaptureFixture
) -> None:
    assert len(held_out(labelled({"a": 5, "b": 5}))) == 10
    assert "validation examples are evaluated" not in caplog.text


def test_unknown_label_outside_the_sample_raises_record_error(held_out: Callable[..., ExampleDataset]) -> None:
    rows = [*labelled({"a": 40, "b": 40}), {"text": "x", "label": "d"}]
    with pytest.raises(RecordError, match=r"val\.jsonl:81: label 'd'"):
        held_out(rows, max_eval_samples=5)


def test_sample_keeps_task_shares(held_out: Callable[..., ExampleDataset]) -> None:
    rows = [{**row, "of": "one" if i % 4 else "two"} for i, row in enumerate(labelled({"a": 40, "b": 40}))]
    sample = held_out(rows, max_eval_samples=8, task_field="of")
    assert Counter((e.get_text("label"), e.get_text("of")) for e in sample) == {
        ("a", "one"): 3, ("b", "one"): 3, ("a", "two"): 1, ("b", "two"): 1,
    }  # fmt: skip


@given(st.lists(st.integers(1, 50), min_size=1, max_size=12), st.data())
def test_allocation_is_complete_and_within_group_sizes(sizes: list[int], data: st.DataObject) -> None:
    count = data.draw(st.integers(1, sum(sizes)))
    groups = dict(enumerate(sizes))
    allocated = allocate_proportionally(groups, count)
    assert sum(allocated.values()) == count
    assert all(1 <= allocated[group] <= groups[group] for group in allocated)
    assert len(allocated) == min(count, len(groups))
