"""Rows in tokens that are made when they are asked for: the same as if all had been kept."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from softprompt.data import Example, read_examples
from softprompt.errors import RowError
from softprompt.tasks import GenerationTask
from softprompt.training.preparation import MOST_HELD_OUT, encode, read, split, task_for
from softprompt.training.rows import EncodedRows
from softprompt.training.settings import TuneSettings
from tests.tiny import shared_model

WriteJsonl = Callable[[str, Sequence[Any]], Path]


def test_rows_are_those_that_were_counted(pairs: Path) -> None:
    objective = GenerationTask().bind(shared_model("llama"), 128)
    examples = read_examples(pairs)
    rows = EncodedRows.of(objective, examples)
    every = [objective.encode(example) for example in examples]
    assert len(rows) == len(every)
    assert list(rows) == every
    assert rows[2:7:2] == every[2:7:2]
    assert list(rows.lengths) == [len(row) for row in every]


def test_rows_that_do_not_fit_are_named_at_once(write_jsonl: WriteJsonl) -> None:
    data = write_jsonl("a.jsonl", [{"input": "a", "output": "b"}, {"input": "a", "output": "scene " * 300}])
    objective = GenerationTask().bind(shared_model("llama"), 128)
    with pytest.raises(RowError, match=r"a\.jsonl:2: the response needs"):
        encode(objective, read_examples(data), "training")


def test_texts_that_are_cut_are_counted() -> None:
    objective = GenerationTask().bind(shared_model("llama"), 40)
    examples = [Example({"input": "scene " * length, "output": "b"}) for length in (2, 200, 3)]
    assert EncodedRows.of(objective, examples).cut == 1


def test_of_much_data_a_part_of_fixed_size_is_held_out(write_jsonl: WriteJsonl) -> None:
    rows = [{"text": f"text {i}", "label": "ab"[i % 2]} for i in range(MOST_HELD_OUT * 10 + 50)]
    settings = TuneSettings(data=write_jsonl("a.jsonl", rows), output="p")
    data = read(settings)
    training, held_out = split(settings, data, task_for(settings, data["data"]))
    assert len(held_out) == MOST_HELD_OUT
    assert len(training) + len(held_out) == len(rows)
    texts = {example.text("text") for example in training}
    assert not any(example.text("text") in texts for example in held_out)
