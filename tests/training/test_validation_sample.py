"""Of many validation examples a sample is measured, in which each label has its share."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from softprompt.data import Examples
from softprompt.errors import RowError
from softprompt.training.preparation import read, split, task_for
from softprompt.training.settings import TuneSettings
from softprompt.training.validation_sample import allot_places

Write = Callable[[str, Sequence[Any]], Path]


def labelled(counts: dict[str, int]) -> list[dict[str, Any]]:
    return [{"text": f"{label} {i}", "label": label} for label, count in counts.items() for i in range(count)]


@pytest.fixture
def held_out(write_jsonl: Write) -> Callable[..., Examples]:
    """The validation examples of a run."""

    def of(rows: Sequence[Any], **settings: Any) -> Examples:
        data = write_jsonl("train.jsonl", labelled({"a": 3, "b": 3, "c": 3}))
        validation = write_jsonl("val.jsonl", rows)
        made = TuneSettings(data=data, validation=validation, output="p", **settings)
        examples = read(made)
        return split(made, examples, task_for(made, examples["data"]))[1]

    return of


def test_each_label_has_its_share_and_one_at_least(
    held_out: Callable[..., Examples], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    chosen = held_out(labelled({"a": 200, "b": 99, "c": 1}), validation_rows=30)
    assert Counter(example.text("label") for example in chosen) == {"a": 20, "b": 9, "c": 1}
    assert "30 of 300 validation examples are measured" in caplog.text
    assert "`validation_rows`" in caplog.text


def test_it_is_the_same_for_every_seed_and_in_the_files_order(held_out: Callable[..., Examples]) -> None:
    rows = labelled({"a": 50, "b": 40})
    chosen = [[e.where for e in held_out(rows, validation_rows=10, seed=seed)] for seed in (0, 7)]
    assert chosen[0] == chosen[1] == sorted(chosen[0], key=lambda where: int(where.rpartition(":")[2]))


def test_a_thousand_are_measured_unless_it_is_said_otherwise(held_out: Callable[..., Examples]) -> None:
    rows = labelled({"a": 700, "b": 700})
    assert len(held_out(rows)) == 1000
    assert len(held_out(rows, validation_rows=0)) == 1400


def test_few_examples_are_all_measured_without_a_word(
    held_out: Callable[..., Examples], caplog: pytest.LogCaptureFixture
) -> None:
    assert len(held_out(labelled({"a": 5, "b": 5}))) == 10
    assert "validation examples are measured" not in caplog.text


def test_a_wrong_label_is_found_though_it_is_not_drawn(held_out: Callable[..., Examples]) -> None:
    rows = [*labelled({"a": 40, "b": 40}), {"text": "x", "label": "d"}]
    with pytest.raises(RowError, match=r"val\.jsonl:81: label 'd'"):
        held_out(rows, validation_rows=5)


def test_each_task_has_its_share_too(held_out: Callable[..., Examples]) -> None:
    rows = [{**row, "of": "one" if i % 4 else "two"} for i, row in enumerate(labelled({"a": 40, "b": 40}))]
    chosen = held_out(rows, validation_rows=8, task_field="of")
    assert Counter((e.text("label"), e.text("of")) for e in chosen) == {
        ("a", "one"): 3, ("b", "one"): 3, ("a", "two"): 1, ("b", "two"): 1,
    }  # fmt: skip


@given(st.lists(st.integers(1, 50), min_size=1, max_size=12), st.data())
def test_all_places_are_allotted_and_no_group_gets_more_than_it_has(sizes: list[int], data: st.DataObject) -> None:
    count = data.draw(st.integers(1, sum(sizes)))
    groups = dict(enumerate(sizes))
    places = allot_places(groups, count)
    assert sum(places.values()) == count
    assert all(1 <= places[group] <= groups[group] for group in places)
    assert len(places) == min(count, len(groups))
