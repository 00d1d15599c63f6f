"""Offsets of answers, in characters or the units of other languages, detected from all records of a file."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from softprompt.data import ExampleDataset, read_examples
from softprompt.errors import RecordError
from tests.data.conftest import Write

WriteJsonl = Callable[[str, Sequence[Any]], Path]
CONTEXT, PLAIN = "😀 会议在北京，时间是三点。", "Then Mary left Paris."
CODE_UNITS = {
    "extraction-utf-16": lambda text: len(text.encode("utf-16-le")) // 2,
    "extraction-utf-8": lambda text: len(text.encode()),
    "extraction": len,
}


def answered(context: str, text: str, start: int) -> dict[str, Any]:
    return {"question": "Where?", "context": context, "answers": {"text": [text], "answer_start": [start]}}


def counted(context: str, text: str, form: str) -> dict[str, Any]:
    return answered(context, text, CODE_UNITS[form](context[: context.index(text)]))


def places(examples: ExampleDataset) -> list[int]:
    return [example.fields["answers"]["answer_start"][0] for example in examples]


@pytest.mark.parametrize("form", CODE_UNITS)
def test_offset_unit_that_fits_all_records_is_detected(
    write_jsonl: WriteJsonl, caplog: pytest.LogCaptureFixture, form: str
) -> None:
    rows = [counted(CONTEXT, "北京", form), counted(PLAIN, "Paris", form), counted(CONTEXT, "三点", form)]
    examples = read_examples(write_jsonl("a.jsonl", rows))
    assert examples.mapping.format.name == form
    assert places(examples) == [CONTEXT.index("北京"), PLAIN.index("Paris"), CONTEXT.index("三点")]
    assert ("count" in caplog.text) == (form != "extraction")


@pytest.mark.usefixtures("cache")
def test_offset_unit_is_detected_in_parquet_files(write: Write) -> None:
    import pyarrow
    from pyarrow import parquet

    sink = io.BytesIO()
    parquet.write_table(pyarrow.Table.from_pylist([counted(CONTEXT, "北京", "extraction-utf-16")]), sink)
    assert places(read_examples(write("a.parquet", sink.getvalue()))) == [CONTEXT.index("北京")]


def test_characters_are_preferred_if_both_units_fit(write_jsonl: WriteJsonl, caplog: pytest.LogCaptureFixture) -> None:
    examples = read_examples(write_jsonl("a.jsonl", [answered("😀 北北北", "北", 3)]))
    assert places(examples) == [3]
    assert not caplog.text


def test_inconsistent_offset_error_names_the_actual_offset(write_jsonl: WriteJsonl) -> None:
    rows = [counted(CONTEXT, "北京", "extraction"), counted(CONTEXT, "北京", "extraction-utf-16")]
    with pytest.raises(
        RecordError, match=r"jsonl:2: .*at character 6: found at character 5; 6 is counted in UTF-16 code"
    ):
        read_examples(write_jsonl("a.jsonl", rows))


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (answered(PLAIN, "Paris", 3), "at character 3: found at character 15$"),
        (answered("tea, tea, tea, tea, tea", "tea", 1), "found at character 0, 5, 10 and later"),
        (answered(PLAIN, "paris", 15), "at character 15: the context has it with other case or white space"),
        (answered(PLAIN, "Rome", 15), "at character 15$"),
        (answered(PLAIN, "Paris", -1), ": found at character 15$"),
    ],
)
def test_wrong_offset_error_names_the_actual_offsets(write_jsonl: WriteJsonl, row: dict[str, Any], said: str) -> None:
    with pytest.raises(RecordError, match=rf"a\.jsonl:1: .* is not in the context.*{said}"):
        read_examples(write_jsonl("a.jsonl", [row]))


def test_validation_file_uses_the_offset_unit_of_the_training_file(write_jsonl: WriteJsonl) -> None:
    train = read_examples(write_jsonl("train.jsonl", [counted(CONTEXT, "北京", "extraction-utf-16")]))
    name, path = train.mapping.format.name, write_jsonl("val.jsonl", [counted(CONTEXT, "北京", "extraction")])
    with pytest.raises(RecordError, match=r"val\.jsonl:1: .*at UTF-16 code unit 5: found at character 5"):
        read_examples(path, format_name=name)


def test_answers_may_be_a_list_of_objects(write: Write) -> None:
    row = {**answered(PLAIN, "Paris", 15), "answers": [{"text": "Paris", "answer_start": 15}]}
    assert places(read_examples(write("a.jsonl", json.dumps(row)))) == [15]
