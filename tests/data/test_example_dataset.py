"""Examples by index: fields under the format's names, read on access, and the digest of their content."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from softprompt.data import read_examples
from softprompt.errors import DataError, RecordError, SettingError
from tests.data.conftest import Write

WriteJsonl = Callable[[str, Sequence[Any]], Path]
ROWS = [{"review": f"text {i}", "stars": i % 5} for i in range(10)]


def test_column_map_renames_fields(write_jsonl: WriteJsonl) -> None:
    examples = read_examples(write_jsonl("a.jsonl", ROWS), {"text": "review", "label": "stars"})
    assert examples.mapping.format.name == "classification"
    assert dict(examples[3].fields) == {"text": "text 3", "label": 3}


def test_column_map_can_swap_fields(write_jsonl: WriteJsonl) -> None:
    path = write_jsonl("a.jsonl", [{"output": "asked", "input": "answer"}])
    assert dict(read_examples(path, {"input": "output", "output": "input"})[0].fields) == {
        "input": "asked",
        "output": "answer",
    }


def test_column_map_with_unknown_column_lists_the_fields(write_jsonl: WriteJsonl) -> None:
    path = write_jsonl("a.jsonl", ROWS)
    with pytest.raises(
        SettingError, match=r"no field 'body', which is named in `column_map`; available fields: review, stars"
    ):
        read_examples(path, {"text": "body"})


def test_later_record_without_a_mapped_field_is_rejected(write_jsonl: WriteJsonl) -> None:
    path = write_jsonl("a.jsonl", [*ROWS, {"review": "no stars"}])
    with pytest.raises(RecordError, match=r"a\.jsonl:11: no field 'label'"):
        read_examples(path, {"text": "review", "label": "stars"})


def test_dataset_behaves_like_a_list(write_jsonl: WriteJsonl) -> None:
    examples = read_examples(write_jsonl("a.jsonl", ROWS))
    every = list(examples)
    assert len(examples) == 10
    assert [examples[i] for i in range(10)] == every
    assert examples[-1] == every[-1]
    assert list(examples[2:9:3]) == every[2:9:3]
    assert list(examples[::2][1:]) == every[::2][1:]
    assert list(examples.select([7, 0])) == [every[7], every[0]]
    assert list(examples.select([7, 0])[1:]) == [every[0]]
    assert list(examples[:0]) == []
    with pytest.raises(IndexError):
        examples[10]


def test_summary_names_the_file_its_format_and_the_number_of_examples(write_jsonl: WriteJsonl) -> None:
    path = write_jsonl("a.jsonl", ROWS)
    found = read_examples(path, {"text": "review", "label": "stars"})
    assert found.summary == f"{path}: classification (text, label), 10 examples"


def test_digest_depends_only_on_the_content_of_the_records(write_jsonl: WriteJsonl, write: Write) -> None:
    one = read_examples(write_jsonl("a.jsonl", ROWS)).digest
    assert read_examples(write_jsonl("b.jsonl", ROWS), {"text": "review"}).digest == one
    assert read_examples(write_jsonl("c.jsonl", ROWS[::-1])).digest != one
    assert len(one) == 64


def test_records_of_a_large_file_are_not_held_in_memory(write: Write) -> None:
    line = '{"text": "' + "word " * 2000 + '", "label": "a"}\n'
    path = write("a.jsonl", line * 1000)
    tracemalloc.start()
    try:
        examples = read_examples(path)
        assert sum(len(example.get_text("text")) for example in examples) == 10_000_000
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 1_500_000


def test_reading_an_example_of_a_deleted_file_raises_a_data_error(write: Write) -> None:
    path = write("a.jsonl", '{"text": "one", "label": "a"}\n')
    examples = read_examples(path)
    path.unlink()
    with pytest.raises(DataError, match=r"a\.jsonl: No such file"):
        examples[0]
