"""What numbers mean as the answers to questions with options, in every kind of file."""

from __future__ import annotations

import csv
import io
import json
import logging
from collections.abc import Callable
from typing import Any

import pytest

from softprompt.data import Examples, read_examples
from softprompt.errors import RowError
from tests.data.conftest import Write

OPTIONS = ["rice", "tea", "bread", "salt"]
NUMERALS = ["4", "2", "1", "8"]

WriteRows = Callable[..., Any]


def jsonl(write: Write, rows: list[dict[str, Any]], name: str = "q") -> Any:
    return write(f"{name}.jsonl", "\n".join(map(json.dumps, rows)))


def as_json(write: Write, rows: list[dict[str, Any]], name: str = "q") -> Any:
    return write(f"{name}.json", json.dumps(rows))


def as_csv(write: Write, rows: list[dict[str, Any]], name: str = "q") -> Any:
    """Options as pandas writes a list into a cell."""
    text = io.StringIO()
    table = csv.DictWriter(text, list(rows[0]))
    table.writeheader()
    table.writerows(rows)
    return write(f"{name}.csv", text.getvalue())


def parquet(write: Write, rows: list[dict[str, Any]], name: str = "q") -> Any:
    import pyarrow
    from pyarrow import parquet as files

    sink = io.BytesIO()
    files.write_table(pyarrow.Table.from_pylist(rows), sink)
    return write(f"{name}.parquet", sink.getvalue())


FILES = [jsonl, as_json, as_csv, parquet]


def asked(answer: Any, options: list[Any] | None = None, **more: Any) -> dict[str, Any]:
    return {"question": "Which?", "choices": OPTIONS if options is None else options, "answer": answer, **more}


def letters(examples: Examples) -> str:
    return "".join(example.text("label") for example in examples)


def notes(caplog: pytest.LogCaptureFixture) -> str:
    return "\n".join(record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING)


@pytest.mark.usefixtures("cache")
@pytest.mark.parametrize("to_file", FILES)
def test_a_number_is_the_place_of_an_option_and_not_its_text(
    write: Write, to_file: WriteRows, caplog: pytest.LogCaptureFixture
) -> None:
    rows = [asked(2, NUMERALS), asked(0), asked(3)]
    assert letters(read_examples(to_file(write, rows))) == "CAD"
    said = notes(caplog)
    assert "in 1 of 3 rows" in said
    assert "also the text of another option: it is taken as the option's number, counted from 0" in said


@pytest.mark.usefixtures("cache")
@pytest.mark.parametrize("to_file", FILES)
def test_numbers_that_only_fit_counted_from_1_are_counted_from_1(
    write: Write, to_file: WriteRows, caplog: pytest.LogCaptureFixture
) -> None:
    assert letters(read_examples(to_file(write, [asked(1), asked(4), asked(2, NUMERALS)]))) == "ADB"
    assert "counted from 1" in notes(caplog)


@pytest.mark.parametrize("to_file", [jsonl, as_json, as_csv])
def test_numbers_that_fit_either_way_are_counted_from_0_and_it_is_said(
    write: Write, to_file: WriteRows, caplog: pytest.LogCaptureFixture
) -> None:
    assert letters(read_examples(to_file(write, [asked(1), asked(2)]))) == "BC"
    assert 'counted from 0, and none is 0; if they are counted from 1, say `format="question-from-1"`' in notes(caplog)
    assert letters(read_examples(to_file(write, [asked(1), asked(2)]), format_name="question-from-1")) == "AB"


def test_nothing_is_said_where_nothing_is_in_doubt(write: Write, caplog: pytest.LogCaptureFixture) -> None:
    assert letters(read_examples(jsonl(write, [asked(0), asked(3), asked("B"), asked("bread")]))) == "ADBC"
    assert not notes(caplog)


@pytest.mark.parametrize("to_file", [jsonl, as_csv])
def test_numbers_that_fit_neither_way_are_refused_by_row(write: Write, to_file: WriteRows) -> None:
    with pytest.raises(RowError, match=r"the answer '4' is none of its options A, B, C, D, counted from 0"):
        read_examples(to_file(write, [asked(0), asked(4)]))
    with pytest.raises(RowError, match=r"the answer '5' is none of its options"):
        read_examples(to_file(write, [asked(1), asked(5)]))


def test_another_file_is_read_as_the_first_was(write: Write) -> None:
    train = read_examples(jsonl(write, [asked(1), asked(4)], "train"))
    name = train.meaning.format.name
    assert letters(read_examples(jsonl(write, [asked(1), asked(2)], "val"), format_name=name)) == "AB"
    with pytest.raises(RowError, match=r"val\.jsonl:1: the answer '0' is none of its options .*counted from 1"):
        read_examples(jsonl(write, [asked(0), asked(2)], "val"), format_name=name)


@pytest.mark.parametrize("to_file", [jsonl, as_csv])
def test_digits_as_text_are_texts_where_all_are_texts_of_options(
    write: Write, to_file: WriteRows, caplog: pytest.LogCaptureFixture
) -> None:
    path = to_file(write, [asked("2", NUMERALS), asked("1", ["3", "0", "1", "2"])])
    assert letters(read_examples(path)) == "BC"
    assert 'if they are numbers of options, say `format="question-from-0"`' in notes(caplog)
    assert letters(read_examples(path, format_name="question-from-0")) == "CB"


@pytest.mark.parametrize("to_file", [jsonl, as_csv])
def test_digits_as_text_are_numbers_where_one_is_no_text_of_an_option(write: Write, to_file: WriteRows) -> None:
    assert letters(read_examples(to_file(write, [asked("2", NUMERALS), asked("1"), asked("0")]))) == "CBA"


def test_numbers_that_are_options_and_can_be_no_places_are_those_options(write: Write) -> None:
    assert letters(read_examples(jsonl(write, [asked(12, [9, 12, 15]), asked(1, [1, 2, 30])]))) == "BA"


def test_options_called_by_numbers_are_meant_by_them(write: Write) -> None:
    options = {"1": "rice", "2": "tea", "3": "1"}
    rows = [{"question": "Which?", "options": options, "answer": answer} for answer in (1, "2", 3)]
    assert letters(read_examples(jsonl(write, rows))) == "ABC"


def test_whole_numbers_of_a_column_with_gaps_are_numbers(write: Write) -> None:
    assert letters(read_examples(jsonl(write, [asked(2.0, NUMERALS), asked(0.0)]))) == "CA"


def test_the_text_beside_a_number_says_what_it_is_counted_from(write: Write) -> None:
    rows = [asked("rice", answer_idx=1), asked("tea", answer_idx=2)]
    assert letters(read_examples(jsonl(write, rows))) == "AB"


def test_a_letter_and_a_text_that_disagree_are_refused(write: Write) -> None:
    with pytest.raises(RowError, match=r"jsonl:1: its answer 'B' is option B, and its text 'rice' is option A"):
        read_examples(jsonl(write, [asked("rice", answer_idx="B")]))


def test_a_validation_file_is_read_as_the_training_file(write: Write) -> None:
    from softprompt.training import TuneSettings
    from softprompt.training.preparation import read

    train, val = jsonl(write, [asked(1), asked(4)], "train"), jsonl(write, [asked(1), asked(2)], "val")
    settings = TuneSettings.of({"data": str(train), "validation": str(val), "output": "unsaved"})
    assert {name: letters(examples) for name, examples in read(settings).items()} == {"data": "AD", "validation": "AB"}
