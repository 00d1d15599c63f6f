"""The meaning of numeric answers to multiple-choice questions, in every kind of file."""

from __future__ import annotations

import csv
import io
import json
import logging
from collections.abc import Callable
from typing import Any

import pytest

from softprompt.data import ExampleDataset, read_examples
from softprompt.errors import RecordError
from tests.data.conftest import Write

OPTIONS = ["rice", "tea", "bread", "salt"]
NUMERALS = ["4", "2", "1", "8"]

WriteRows = Callable[..., Any]


def jsonl(write: Write, rows: list[dict[str, Any]], name: str = "q") -> Any:
    return write(f"{name}.jsonl", "\n".join(map(json.dumps, rows)))


def as_json(write: Write, rows: list[dict[str, Any]], name: str = "q") -> Any:
    return write(f"{name}.json", json.dumps(rows))


def as_csv(write: Write, rows: list[dict[str, Any]], name: str = "q") -> Any:
    """Write records as CSV, with a list of options as pandas writes it into a cell."""
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


def letters(examples: ExampleDataset) -> str:
    return "".join(example.get_text("label") for example in examples)


def notes(caplog: pytest.LogCaptureFixture) -> str:
    return "\n".join(record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING)


@pytest.mark.usefixtures("cache")
@pytest.mark.parametrize("to_file", FILES)
def test_numeric_answer_is_an_option_number_even_if_another_option_has_that_text(
    write: Write, to_file: WriteRows, caplog: pytest.LogCaptureFixture
) -> None:
    rows = [asked(2, NUMERALS), asked(0), asked(3)]
    assert letters(read_examples(to_file(write, rows))) == "CAD"
    said = notes(caplog)
    assert "in 1 of 3 records" in said
    assert "also the text of another option: it is read as an option number counted from 0" in said


@pytest.mark.usefixtures("cache")
@pytest.mark.parametrize("to_file", FILES)
def test_one_based_option_numbers_are_detected(
    write: Write, to_file: WriteRows, caplog: pytest.LogCaptureFixture
) -> None:
    assert letters(read_examples(to_file(write, [asked(1), asked(4), asked(2, NUMERALS)]))) == "ADB"
    assert "counted from 1" in notes(caplog)


@pytest.mark.parametrize("to_file", [jsonl, as_json, as_csv])
def test_ambiguous_option_numbers_are_counted_from_0_with_a_warning(
    write: Write, to_file: WriteRows, caplog: pytest.LogCaptureFixture
) -> None:
    assert letters(read_examples(to_file(write, [asked(1), asked(2)]))) == "BC"
    assert 'counted from 0, but no answer is 0; if they are counted from 1, pass `format="question-from-1"`' in notes(
        caplog
    )
    assert letters(read_examples(to_file(write, [asked(1), asked(2)]), format_name="question-from-1")) == "AB"


def test_unambiguous_answers_log_nothing(write: Write, caplog: pytest.LogCaptureFixture) -> None:
    assert letters(read_examples(jsonl(write, [asked(0), asked(3), asked("B"), asked("bread")]))) == "ADBC"
    assert not notes(caplog)


@pytest.mark.parametrize("to_file", [jsonl, as_csv])
def test_option_number_out_of_range_is_rejected(write: Write, to_file: WriteRows) -> None:
    with pytest.raises(RecordError, match=r"answer '4' is not one of the options A, B, C, D, counted from 0"):
        read_examples(to_file(write, [asked(0), asked(4)]))
    with pytest.raises(RecordError, match=r"answer '5' is not one of the options"):
        read_examples(to_file(write, [asked(1), asked(5)]))


def test_explicit_format_determines_the_index_base_of_another_file(write: Write) -> None:
    train = read_examples(jsonl(write, [asked(1), asked(4)], "train"))
    name = train.mapping.format.name
    assert letters(read_examples(jsonl(write, [asked(1), asked(2)], "val"), format_name=name)) == "AB"
    with pytest.raises(RecordError, match=r"val\.jsonl:1: answer '0' is not one of the options .*counted from 1"):
        read_examples(jsonl(write, [asked(0), asked(2)], "val"), format_name=name)


@pytest.mark.parametrize("to_file", [jsonl, as_csv])
def test_digit_strings_are_option_texts_if_all_match(
    write: Write, to_file: WriteRows, caplog: pytest.LogCaptureFixture
) -> None:
    path = to_file(write, [asked("2", NUMERALS), asked("1", ["3", "0", "1", "2"])])
    assert letters(read_examples(path)) == "BC"
    assert 'if they are option numbers, pass `format="question-from-0"`' in notes(caplog)
    assert letters(read_examples(path, format_name="question-from-0")) == "CB"


@pytest.mark.parametrize("to_file", [jsonl, as_csv])
def test_digit_strings_are_option_numbers_unless_all_match_texts(write: Write, to_file: WriteRows) -> None:
    assert letters(read_examples(to_file(write, [asked("2", NUMERALS), asked("1"), asked("0")]))) == "CBA"


def test_numbers_out_of_range_match_option_texts(write: Write) -> None:
    assert letters(read_examples(jsonl(write, [asked(12, [9, 12, 15]), asked(1, [1, 2, 30])]))) == "BA"


def test_numeric_option_keys_identify_options(write: Write) -> None:
    options = {"1": "rice", "2": "tea", "3": "1"}
    rows = [{"question": "Which?", "options": options, "answer": answer} for answer in (1, "2", 3)]
    assert letters(read_examples(jsonl(write, rows))) == "ABC"


def test_float_answers_of_a_column_with_gaps_are_read_as_integers(write: Write) -> None:
    assert letters(read_examples(jsonl(write, [asked(2.0, NUMERALS), asked(0.0)]))) == "CA"


def test_answer_text_determines_the_index_base(write: Write) -> None:
    rows = [asked("rice", answer_idx=1), asked("tea", answer_idx=2)]
    assert letters(read_examples(jsonl(write, rows))) == "AB"


def test_answer_letter_that_contradicts_the_answer_text_is_rejected(write: Write) -> None:
    with pytest.raises(RecordError, match=r"jsonl:1: answer 'B' is option B, but the answer text 'rice' is option A"):
        read_examples(jsonl(write, [asked("rice", answer_idx="B")]))


def test_validation_file_uses_the_format_of_the_training_file(write: Write) -> None:
    from softprompt.training import TuneSettings
    from softprompt.training.example_splits import load_examples

    train, val = jsonl(write, [asked(1), asked(4)], "train"), jsonl(write, [asked(1), asked(2)], "val")
    settings = TuneSettings.from_dict({"data": str(train), "validation": str(val), "output": "unsaved"})
    assert {name: letters(examples) for name, examples in load_examples(settings).items()} == {
        "data": "AD",
        "validation": "AB",
    }
