"""JSON in common layouts: each is read under either extension, or rejected with its name."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest

from softprompt.data import read_examples
from softprompt.errors import DataError, RecordError
from tests.data.conftest import Write

ROWS = [{"text": "one", "label": "a"}, {"text": "two", "label": "b"}, {"text": "three", "label": "a"}]
LINES = "".join(f"{json.dumps(row)}\n" for row in ROWS)
COLUMNS = {"text": ["one", "two", "three"], "label": ["a", "b", "a"]}
BY_NUMBER = {name: {str(i): row[name] for i, row in enumerate(ROWS)} for name in ("text", "label")}
SPLIT = {"columns": ["text", "label"], "index": [0, 1, 2], "data": [[*row.values()] for row in ROWS]}


def read(path: Any) -> list[dict[str, Any]]:
    return [dict(example.fields) for example in read_examples(path)]


@pytest.mark.parametrize("ending", ["json", "jsonl"])
@pytest.mark.parametrize(
    "content",
    [
        LINES,
        "\n" + LINES.replace("\n", "\r\n\r\n"),
        json.dumps(ROWS),
        json.dumps(ROWS, indent=2),
        "\n".join(json.dumps(row, indent=2) for row in ROWS),
        "".join(json.dumps(row) for row in ROWS),
        *(json.dumps({name: ROWS}) for name in ("data", "train", "examples", "rows", "records", "my own name")),
        json.dumps({"version": "1.0", "data": ROWS}, indent=2),
        json.dumps(COLUMNS),
        json.dumps(COLUMNS, indent=2),
        json.dumps(BY_NUMBER),
        json.dumps(SPLIT),
        json.dumps({"0": ROWS[0], "1": ROWS[1], "2": ROWS[2]}),
        json.dumps({"row-a": ROWS[0], "row-b": ROWS[1], "row-c": ROWS[2]}),
    ],
)
def test_every_json_layout_is_read_with_both_extensions(write: Write, ending: str, content: str) -> None:
    path = write(f"a.{ending}", content)
    assert read(path) == ROWS
    assert read_examples(path)[2].get_text("text") == "three"


def test_list_named_train_is_read_and_logged_if_a_file_has_several_lists(
    write: Write, caplog: pytest.LogCaptureFixture
) -> None:
    path = write("a.json", json.dumps({"train": ROWS, "test": ROWS[:1], "validation": []}))
    assert read(path) == ROWS
    assert "reading the list 'train' and ignoring 'test', 'validation'" in caplog.text


def test_file_with_several_lists_but_no_train_is_rejected(write: Write) -> None:
    with pytest.raises(DataError, match=r"a\.json contains several lists \(test, dev\): save the one to use"):
        read(write("a.json", json.dumps({"test": ROWS, "dev": ROWS})))


@pytest.mark.parametrize(
    ("content", "words"), [(LINES, "read as JSONL"), (json.dumps({"data": ROWS}), "the list 'data'")]
)
def test_detected_layout_is_logged(write: Write, caplog: pytest.LogCaptureFixture, content: str, words: str) -> None:
    with caplog.at_level(logging.INFO):
        read(write("a.json", content))
    assert words in caplog.text


@pytest.mark.parametrize(
    "row",
    [
        {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]},
        {"tokens": ["a", "b"], "tags": ["O", "O"]},
        {"question": "a?", "choices": [{"a": 1}, {"a": 2}], "answer": "A"},
        {"text": "one", "label": "a", "notes": [{"by": "me"}]},
    ],
)
@pytest.mark.parametrize("indent", [None, 2])
def test_single_object_with_lists_is_read_as_one_record(write: Write, row: dict[str, Any], indent: int | None) -> None:
    assert len(read(write("a.jsonl", json.dumps(row, indent=indent)))) == 1


def test_columns_whose_values_are_lists_are_read_as_columns(write: Write) -> None:
    [one, two] = read(write("a.json", json.dumps({"tokens": [["a"], ["b"]], "tags": [["O"], ["X"]]})))
    assert (one, two) == ({"tokens": ["a"], "tags": ["O"]}, {"tokens": ["b"], "tags": ["X"]})


@pytest.mark.parametrize("content", ['{"text": "one"}', '{"text": ["one"], "label": ["a", "b"]}', '"one"', "7"])
def test_json_value_without_records_is_rejected(write: Write, content: str) -> None:
    with pytest.raises(DataError, match=r"a\.json: expected a list of objects"):
        read(write("a.json", content))


def test_malformed_jsonl_line_in_json_file_is_reported(write: Write) -> None:
    with pytest.raises(RecordError, match=r"a\.json: not JSON: .* at line 3, character 1"):
        read(write("a.json", '{"text": "one"}\n{"text": "two"}\noops\n'))


@pytest.mark.parametrize("content", ['[\n{"text": "one"},\noops]', '{\n"text": "one",\noops}'])
def test_malformed_multiline_value_error_names_the_line(write: Write, content: str) -> None:
    with pytest.raises(RecordError, match=r"a\.jsonl: not JSON: .* at line 3"):
        read(write("a.jsonl", content))


def test_json_of_every_pandas_orient_is_read(write: Write) -> None:
    import pandas

    table = pandas.DataFrame(ROWS)
    for orient in ("columns", "index", "records", "split", "table"):
        assert read(write(f"{orient}.json", table.to_json(orient=orient))) in (
            ROWS,
            [{"index": i, **row} for i, row in enumerate(ROWS)],
        )
    assert read(write("lines.jsonl", table.to_json(orient="records", lines=True))) == ROWS


@pytest.mark.parametrize("ending", ["json", "jsonl"])
@pytest.mark.parametrize("wrapped", [True, False])
def test_squad_articles_become_a_record_per_question(write: Write, ending: str, wrapped: bool) -> None:
    context = "Then Mary left Paris."
    questions = [
        {"question": f"{word}?", "id": word, "answers": [{"text": word, "answer_start": context.index(word)}]}
        for word in ("Mary", "Paris")
    ]
    articles = [{"title": "Towns", "paragraphs": [{"context": context, "qas": questions}]}]
    found = read(write(f"a.{ending}", json.dumps({"version": "1.1", "data": articles} if wrapped else articles)))
    assert [row["question"] for row in found] == ["Mary?", "Paris?"]
    assert [row["answers"] for row in found] == [
        {"text": ["Mary"], "answer_start": [5]},
        {"text": ["Paris"], "answer_start": [15]},
    ]
    assert found[0]["context"] == context
