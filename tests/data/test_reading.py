"""Files of examples, and what is wrong with them by file and line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from softprompt.data import Example, read_examples
from softprompt.errors import DataError, RowError, SettingError
from tests.data.conftest import Write


def texts(path: Path) -> list[str]:
    return [example.text("text") for example in read_examples(path)]


def test_jsonl_is_an_example_a_line(write: Write) -> None:
    path = write("a.jsonl", '{"text": "one", "label": 1}\n{"text": "two", "label": 0}\n')
    assert list(read_examples(path)) == [
        Example({"text": "one", "label": 1}, f"{path}:1"),
        Example({"text": "two", "label": 0}, f"{path}:2"),
    ]


def test_json_is_a_list_of_objects(write: Write) -> None:
    path = write("a.json", '[{"text": "one"},\n {"text": "two"}]')
    assert texts(path) == ["one", "two"]
    assert [example.where for example in read_examples(path)] == [f"{path}, row 1", f"{path}, row 2"]


def test_the_ending_may_be_in_capitals(write: Write) -> None:
    assert texts(write("A.JSONL", '{"text": "one"}')) == ["one"]


@pytest.mark.parametrize(("name", "row"), [("a.jsonl", '{"text": "one"}'), ("a.json", '[{"text": "one"}]')])
def test_a_byte_order_mark_is_no_text(write: Write, name: str, row: str) -> None:
    assert texts(write(name, b"\xef\xbb\xbf" + row.encode())) == ["one"]


@pytest.mark.parametrize("separator", ["\u2028", "\u2029", "\u0085", "\x0b"])
def test_a_separator_within_a_text_ends_no_line(write: Write, separator: str) -> None:
    row = json.dumps({"text": f"one{separator}two"}, ensure_ascii=separator == "\x0b")
    assert texts(write("a.jsonl", f'{row}\n{{"text": "three"}}\n')) == [f"one{separator}two", "three"]


def test_blank_lines_are_skipped_but_counted(write: Write) -> None:
    path = write("a.jsonl", '\n{"text": "one"}\n  \n\n{"text": "two"}\n\n')
    assert [example.where for example in read_examples(path)] == [f"{path}:2", f"{path}:5"]


def test_windows_line_ends(write: Write) -> None:
    assert texts(write("a.jsonl", '{"text": "one"}\r\n\r\n{"text": "two"}\r\n')) == ["one", "two"]


def test_chinese_text(write: Write) -> None:
    assert texts(write("a.jsonl", '{"text": "这件衣服很好看，值得买。"}\n')) == ["这件衣服很好看，值得买。"]


@pytest.mark.parametrize(
    "line",
    ['{"text": "one"', "{'text': 'one'}", "text", '{"text": "one"} {"text": "two"}', '{"text": "a\tb"}'],
)
def test_a_malformed_line_is_named(write: Write, line: str) -> None:
    path = write("a.jsonl", f'{{"text": "fine"}}\n\n{line}\n')
    with pytest.raises(RowError, match=r"a\.jsonl:3: not JSON: .* at character \d+$") as caught:
        read_examples(path)
    assert caught.value.where == f"{path}:3"


def test_malformed_json_is_named_by_line_and_character(write: Write) -> None:
    with pytest.raises(RowError, match=r"a\.json: not JSON: .* at line 2, character 4"):
        read_examples(write("a.json", '[{"text": "one"},\n   oops]'))


@pytest.mark.parametrize("line", ["[" * 100_000, f'{{"label": {"9" * 5000}}}'], ids=["depth", "digits"])
def test_json_that_python_gives_up_on_is_named(write: Write, line: str) -> None:
    with pytest.raises(RowError, match=r"a\.jsonl:2: not JSON that can be read"):
        read_examples(write("a.jsonl", f'{{"text": "fine"}}\n{line}'))


@pytest.mark.parametrize(
    ("row", "kind"), [("[1, 2]", "list"), ('"one"', "str"), ("7", "int"), ("null", "NoneType"), ("true", "bool")]
)
def test_a_row_that_is_no_object_is_named(write: Write, row: str, kind: str) -> None:
    with pytest.raises(RowError, match=rf"a\.jsonl:2: expected an object with named fields, found {kind}"):
        read_examples(write("a.jsonl", f'{{"text": "fine"}}\n{row}\n'))
    with pytest.raises(RowError, match=rf"a\.json, row 2: expected an object with named fields, found {kind}"):
        read_examples(write("a.json", f'[{{"text": "fine"}}, {row}]'))


def test_an_object_in_a_json_file_is_probably_jsonl(write: Write) -> None:
    with pytest.raises(DataError, match=r"expected a list of objects.*name it \.jsonl"):
        read_examples(write("a.json", '{"text": "one"}'))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no file .*gone\.jsonl"):
        read_examples(tmp_path / "gone.jsonl")


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").mkdir()
    with pytest.raises(DataError, match=r"a\.jsonl is a folder, and none that save_to_disk wrote: name a file in it"):
        read_examples(tmp_path / "a.jsonl")


@pytest.mark.parametrize(
    ("name", "content"),
    [("a.jsonl", ""), ("a.jsonl", "\n \n"), ("a.jsonl", b"\xef\xbb\xbf"), ("a.json", ""), ("a.json", "[]")],
)
def test_a_file_without_examples_is_named(write: Write, name: str, content: str | bytes) -> None:
    with pytest.raises(DataError, match=rf"{name} has no examples"):
        read_examples(write(name, content))


@pytest.mark.parametrize("name", ["a.txt", "a.xlsx", "jsonl", "a.jsonl.gz"])
def test_an_unknown_ending_lists_the_known(write: Write, name: str) -> None:
    with pytest.raises(SettingError, match=r"must be one of \.jsonl, \.json"):
        read_examples(write(name, '{"text": "one"}'))


def test_another_encoding_is_named_with_its_place(write: Write) -> None:
    with pytest.raises(DataError, match=r"a\.jsonl: not UTF-8 at byte 10: save it as UTF-8$"):
        read_examples(write("a.jsonl", b'{"text": "\xff\x81\xa0"}'))
    with pytest.raises(DataError, match=r"a\.jsonl: not UTF-8 at byte 26: save it"):
        read_examples(write("a.jsonl", '{"text": "né"}\n{"text": "'.encode() + b'\xe9"}'))


@pytest.mark.parametrize(("name", "row"), [("a.jsonl", '{"text": "很好"}'), ("a.json", '[{"text": "很好"}]')])
def test_an_encoding_that_can_be_told_is_named(write: Write, name: str, row: str) -> None:
    with pytest.raises(DataError, match="it reads as GB18030: iconv -f GB18030 -t UTF-8"):
        read_examples(write(name, row.encode("gb18030")))
    with pytest.raises(DataError, match="it reads as WINDOWS-1252: iconv -f WINDOWS-1252 -t UTF-8"):
        read_examples(write(name, row.replace("很", "é – ").encode("cp1252", "ignore")))


@pytest.mark.parametrize(
    ("value", "text"), [("one", "one"), ("", ""), (3, "3"), (0, "0"), (2.5, "2.5"), (True, "true"), (False, "false")]
)
def test_a_number_or_truth_value_is_text_as_the_file_writes_it(value: Any, text: str) -> None:
    assert Example({"label": value}).text("label") == text


@pytest.mark.parametrize(("value", "kind"), [(None, "NoneType"), (["one"], "list"), ({"a": 1}, "dict")])
def test_what_is_no_text_is_named(value: Any, kind: str) -> None:
    with pytest.raises(RowError, match=f"^train.jsonl:7: field 'text' is {kind}, not text$"):
        Example({"text": value}, "train.jsonl:7").text("text")


@pytest.mark.parametrize("read", [Example.text, Example.texts])
def test_a_missing_field_names_those_there_are(read: Callable[[Example, str], object]) -> None:
    with pytest.raises(RowError, match="^train.jsonl:7: no field 'txt'; its fields are text, label$"):
        read(Example({"text": "one", "label": "good"}, "train.jsonl:7"), "txt")
    with pytest.raises(RowError, match="its fields are none$"):
        read(Example({}, "train.jsonl:7"), "txt")


@pytest.mark.parametrize(("value", "expected"), [("one", ["one"]), (["one", "two"], ["one", "two"])])
def test_one_text_or_a_list_of_them(value: Any, expected: list[str]) -> None:
    assert Example({"references": value}).texts("references") == expected


@pytest.mark.parametrize("value", [[], ["one", 2], 5, None, {"a": "b"}])
def test_neither_a_text_nor_a_list_of_texts(value: Any) -> None:
    with pytest.raises(RowError, match="^train.jsonl:7: field 'references' is neither a text nor a list of texts$"):
        Example({"references": value}, "train.jsonl:7").texts("references")


def test_half_a_character_is_refused(write: Write) -> None:
    [example] = read_examples(
        write("a.jsonl", r'{"text": "\ud83d", "references": ["fine", "\ude00"], "whole": "\ud83d\ude00"}')
    )
    assert example.text("whole") == "😀"
    with pytest.raises(RowError, match=r"a\.jsonl:1: field 'text' is no Unicode text"):
        example.text("text")
    with pytest.raises(RowError, match=r"a\.jsonl:1: field 'references' is no Unicode text"):
        example.texts("references")
