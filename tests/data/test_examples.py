"""Examples by number: fields under our names, read when they are asked for, and what names their content."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from softprompt.data import read_examples
from softprompt.errors import DataError, RowError, SettingError
from tests.data.conftest import Write

WriteJsonl = Callable[[str, Sequence[Any]], Path]
ROWS = [{"review": f"text {i}", "stars": i % 5} for i in range(10)]


def test_fields_under_our_names(write_jsonl: WriteJsonl) -> None:
    examples = read_examples(write_jsonl("a.jsonl", ROWS), {"text": "review", "label": "stars"})
    assert examples.meaning.format.name == "classification"
    assert dict(examples[3].fields) == {"text": "text 3", "label": 3}


def test_names_may_change_places(write_jsonl: WriteJsonl) -> None:
    path = write_jsonl("a.jsonl", [{"output": "asked", "input": "answer"}])
    assert dict(read_examples(path, {"input": "output", "output": "input"})[0].fields) == {
        "input": "asked",
        "output": "answer",
    }


def test_a_name_for_no_field_lists_those_there_are(write_jsonl: WriteJsonl) -> None:
    path = write_jsonl("a.jsonl", ROWS)
    with pytest.raises(SettingError, match=r"no field 'body', which `map` names; its fields are review, stars"):
        read_examples(path, {"text": "body"})


def test_a_later_row_without_the_field_is_named(write_jsonl: WriteJsonl) -> None:
    path = write_jsonl("a.jsonl", [*ROWS, {"review": "no stars"}])
    with pytest.raises(RowError, match=r"a\.jsonl:11: no field 'label'"):
        read_examples(path, {"text": "review", "label": "stars"})


def test_they_are_a_sequence(write_jsonl: WriteJsonl) -> None:
    examples = read_examples(write_jsonl("a.jsonl", ROWS))
    every = list(examples)
    assert len(examples) == 10
    assert [examples[i] for i in range(10)] == every
    assert examples[-1] == every[-1]
    assert list(examples[2:9:3]) == every[2:9:3]
    assert list(examples[::2][1:]) == every[::2][1:]
    assert list(examples.chosen([7, 0])) == [every[7], every[0]]
    assert list(examples.chosen([7, 0])[1:]) == [every[0]]
    assert list(examples[:0]) == []
    with pytest.raises(IndexError):
        examples[10]


def test_what_is_read_is_said_in_a_line(write_jsonl: WriteJsonl) -> None:
    path = write_jsonl("a.jsonl", ROWS)
    found = read_examples(path, {"text": "review", "label": "stars"})
    assert found.summary == f"{path}: classification (text, label), 10 rows"


def test_the_content_has_a_name(write_jsonl: WriteJsonl, write: Write) -> None:
    one = read_examples(write_jsonl("a.jsonl", ROWS)).digest
    assert read_examples(write_jsonl("b.jsonl", ROWS), {"text": "review"}).digest == one
    assert read_examples(write_jsonl("c.jsonl", ROWS[::-1])).digest != one
    assert len(one) == 64


def test_rows_are_not_kept(write: Write) -> None:
    line = '{"text": "' + "word " * 2000 + '", "label": "a"}\n'
    path = write("a.jsonl", line * 1000)
    tracemalloc.start()
    try:
        examples = read_examples(path)
        assert sum(len(example.text("text")) for example in examples) == 10_000_000
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 1_500_000


def test_a_file_that_is_gone_since(write: Write) -> None:
    path = write("a.jsonl", '{"text": "one", "label": "a"}\n')
    examples = read_examples(path)
    path.unlink()
    with pytest.raises(DataError, match=r"a\.jsonl: No such file"):
        examples[0]
