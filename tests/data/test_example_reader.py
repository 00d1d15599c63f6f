"""Files of examples, and errors with file and line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from softprompt.data import Example, read_examples
from softprompt.errors import DataError, RecordError, SettingError
from tests.data.conftest import Write


def texts(path: Path) -> list[str]:
    return [example.get_text("text") for example in read_examples(path)]


def test_jsonl_has_one_example_per_line(write: Write) -> None:
    path = write("a.jsonl", '{"text": "one", "label": 1}\n{"text": "two", "label": 0}\n')
    assert list(read_examples(path)) == [
        Example({"text": "one", "label": 1}, f"{path}:1"),
        Example({"text": "two", "label": 0}, f"{path}:2"),
    ]


def test_json_file_with_a_list_of_objects_is_read(write: Write) -> None:
    path = write("a.json", '[{"text": "one"},\n {"text": "two"}]')
    assert texts(path) == ["one", "two"]
    assert [example.location for example in read_examples(path)] == [f"{path}, row 1", f"{path}, row 2"]


def test_file_extension_is_case_insensitive(write: Write) -> None:
    assert texts(write("A.JSONL", '{"text": "one"}')) == ["one"]


@pytest.mark.parametrize(("name", "row"), [("a.jsonl", '{"text": "one"}'), ("a.json", '[{"text": "one"}]')])
def test_byte_order_mark_is_skipped(write: Write, name: str, row: str) -> None:
    assert texts(write(name, b"\xef\xbb\xbf" + row.encode())) == ["one"]


@pytest.mark.parametrize("separator", ["\u2028", "\u2029", "\u0085", "\x0b"])
def test_unicode_line_separator_does_not_end_a_line(write: Write, separator: str) -> None:
    row = json.dumps({"text": f"one{separator}two"}, ensure_ascii=separator == "\x0b")
    assert texts(write("a.jsonl", f'{row}\n{{"text": "three"}}\n')) == [f"one{separator}two", "three"]


def test_blank_lines_are_skipped_but_counted(write: Write) -> None:
    path = write("a.jsonl", '\n{"text": "one"}\n  \n\n{"text": "two"}\n\n')
    assert [example.location for example in read_examples(path)] == [f"{path}:2", f"{path}:5"]


def test_jsonl_with_windows_line_ends_is_read(write: Write) -> None:
    assert texts(write("a.jsonl", '{"text": "one"}\r\n\r\n{"text": "two"}\r\n')) == ["one", "two"]


def test_chinese_text_is_read_unchanged(write: Write) -> None:
    assert texts(write("a.jsonl", '{"text": "这件衣服很好看，值得买。"}\n')) == ["这件衣服很好看，值得买。"]


@pytest.mark.parametrize(
    "line",
    ['{"text": "one"', "{'text': 'one'}", "text", '{"text": "one"} {"text": "two"}', '{"text": "a\tb"}'],
)
def test_malformed_line_error_names_the_location(write: Write, line: str) -> None:
    path = write("a.jsonl", f'{{"text": "fine"}}\n\n{line}\n')
    with pytest.raises(RecordError, match=r"a\.jsonl:3: not JSON: .* at character \d+$") as caught:
        read_examples(path)
    assert caught.value.location == f"{path}:3"


def test_malformed_json_error_names_line_and_character(write: Write) -> None:
    with pytest.raises(RecordError, match=r"a\.json: not JSON: .* at line 2, character 4"):
        read_examples(write("a.json", '[{"text": "one"},\n   oops]'))


@pytest.mark.parametrize("line", ["[" * 100_000, f'{{"label": {"9" * 5000}}}'], ids=["depth", "digits"])
def test_unparsable_json_error_names_the_location(write: Write, line: str) -> None:
    with pytest.raises(RecordError, match=r"a\.jsonl:2: JSON cannot be parsed"):
        read_examples(write("a.jsonl", f'{{"text": "fine"}}\n{line}'))


@pytest.mark.parametrize(
    ("row", "kind"), [("[1, 2]", "list"), ('"one"', "str"), ("7", "int"), ("null", "NoneType"), ("true", "bool")]
)
def test_record_that_is_not_an_object_is_rejected(write: Write, row: str, kind: str) -> None:
    with pytest.raises(RecordError, match=rf"a\.jsonl:2: expected an object with named fields, found {kind}"):
        read_examples(write("a.jsonl", f'{{"text": "fine"}}\n{row}\n'))
    with pytest.raises(RecordError, match=rf"a\.json, row 2: expected an object with named fields, found {kind}"):
        read_examples(write("a.json", f'[{{"text": "fine"}}, {row}]'))


def test_single_object_in_json_file_suggests_jsonl(write: Write) -> None:
    with pytest.raises(DataError, match=r"expected a list of objects.*rename it to \.jsonl"):
        read_examples(write("a.json", '{"text": "one"}'))


def test_missing_file_error_names_the_path(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"file not found: .*gone\.jsonl"):
        read_examples(tmp_path / "gone.jsonl")


def test_folder_without_saved_dataset_is_rejected(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").mkdir()
    with pytest.raises(
        DataError, match=r"a\.jsonl is a folder but not a dataset saved with save_to_disk: use a file inside it"
    ):
        read_examples(tmp_path / "a.jsonl")


@pytest.mark.parametrize(
    ("name", "content"),
    [("a.jsonl", ""), ("a.jsonl", "\n \n"), ("a.jsonl", b"\xef\xbb\xbf"), ("a.json", ""), ("a.json", "[]")],
)
def test_file_without_examples_is_rejected(write: Write, name: str, content: str | bytes) -> None:
    with pytest.raises(DataError, match=rf"{name} has no examples"):
        read_examples(write(name, content))


@pytest.mark.parametrize("name", ["a.txt", "a.xlsx", "jsonl", "a.jsonl.gz"])
def test_unknown_extension_error_lists_supported_ones(write: Write, name: str) -> None:
    with pytest.raises(SettingError, match=r"Use one of \.jsonl, \.json"):
        read_examples(write(name, '{"text": "one"}'))


def test_invalid_utf8_error_names_the_byte(write: Write) -> None:
    with pytest.raises(DataError, match=r"a\.jsonl: not valid UTF-8 at byte 10: save the file as UTF-8$"):
        read_examples(write("a.jsonl", b'{"text": "\xff\x81\xa0"}'))
    with pytest.raises(DataError, match=r"a\.jsonl: not valid UTF-8 at byte 26: save the file"):
        read_examples(write("a.jsonl", '{"text": "né"}\n{"text": "'.encode() + b'\xe9"}'))


@pytest.mark.parametrize(("name", "row"), [("a.jsonl", '{"text": "很好"}'), ("a.json", '[{"text": "很好"}]')])
def test_invalid_utf8_error_names_the_likely_encoding(write: Write, name: str, row: str) -> None:
    with pytest.raises(DataError, match="probably GB18030: iconv -f GB18030 -t UTF-8"):
        read_examples(write(name, row.encode("gb18030")))
    with pytest.raises(DataError, match="probably WINDOWS-1252: iconv -f WINDOWS-1252 -t UTF-8"):
        read_examples(write(name, row.replace("很", "é – ").encode("cp1252", "ignore")))


@pytest.mark.parametrize(
    ("value", "text"), [("one", "one"), ("", ""), (3, "3"), (0, "0"), (2.5, "2.5"), (True, "true"), (False, "false")]
)
def test_numbers_and_booleans_become_text_as_written(value: Any, text: str) -> None:
    assert Example({"label": value}).get_text("label") == text


@pytest.mark.parametrize(("value", "kind"), [(None, "NoneType"), (["one"], "list"), ({"a": 1}, "dict")])
def test_field_that_is_not_text_is_rejected(value: Any, kind: str) -> None:
    with pytest.raises(RecordError, match=f"^train.jsonl:7: field 'text' is {kind}, not text$"):
        Example({"text": value}, "train.jsonl:7").get_text("text")


@pytest.mark.parametrize("read", [Example.get_text, Example.get_texts])
def test_missing_field_error_lists_the_fields(read: Callable[[Example, str], object]) -> None:
    with pytest.raises(RecordError, match="^train.jsonl:7: no field 'txt'; its fields are text, label$"):
        read(Example({"text": "one", "label": "good"}, "train.jsonl:7"), "txt")
    with pytest.raises(RecordError, match="its fields are none$"):
        read(Example({}, "train.jsonl:7"), "txt")


@pytest.mark.parametrize(("value", "expected"), [("one", ["one"]), (["one", "two"], ["one", "two"])])
def test_get_texts_accepts_a_text_or_a_list(value: Any, expected: list[str]) -> None:
    assert Example({"references": value}).get_texts("references") == expected


@pytest.mark.parametrize("value", [[], ["one", 2], 5, None, {"a": "b"}])
def test_get_texts_rejects_other_values(value: Any) -> None:
    with pytest.raises(RecordError, match="^train.jsonl:7: field 'references' is neither a text nor a list of texts$"):
        Example({"references": value}, "train.jsonl:7").get_texts("references")


def test_text_with_a_lone_surrogate_is_rejected(write: Write) -> None:
    [example] = read_examples(
        write("a.jsonl", r'{"text": "\ud83d", "references": ["fine", "\ude00"], "whole": "\ud83d\ude00"}')
    )
    assert example.get_text("whole") == "😀"
    with pytest.raises(RecordError, match=r"a\.jsonl:1: field 'text' is not valid Unicode text: it has the lone"):
        example.get_text("text")
    with pytest.raises(RecordError, match=r"a\.jsonl:1: field 'references' is not valid Unicode text"):
        example.get_texts("references")
