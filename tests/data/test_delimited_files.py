"""CSV and TSV: every value is text, quotes may hold anything, and complaints name the line."""

from __future__ import annotations

import csv
import io
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from softprompt.data import read_examples
from softprompt.errors import DataError, RowError
from tests.data.conftest import Write

cells = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)


def rows(path: Path) -> list[dict[str, object]]:
    return [dict(example.fields) for example in read_examples(path)]


@pytest.mark.parametrize(("name", "mark"), [("a.csv", ","), ("a.tsv", "\t"), ("A.CSV", ",")])
def test_a_line_of_names_and_a_row_a_line(write: Write, name: str, mark: str) -> None:
    path = write(name, f"text{mark}label\none{mark}1\n\ntwo{mark}0")
    assert rows(path) == [{"text": "one", "label": "1"}, {"text": "two", "label": "0"}]
    assert [example.where for example in read_examples(path)] == [f"{path}:2", f"{path}:4"]


@pytest.mark.parametrize("value", ["a,b", 'she said "so"', "two\nlines", "two\r\nlines", "", "NA", "007", "\u2028,"])
def test_a_quoted_value_may_hold_anything(write: Write, value: str) -> None:
    quoted = value.replace('"', '""')
    path = write("a.csv", f'text,label\n"{quoted}",a\nplain,b\n')
    assert rows(path) == [{"text": value, "label": "a"}, {"text": "plain", "label": "b"}]


@given(table=st.lists(st.tuples(cells, cells), min_size=1, max_size=5))
def test_what_python_writes_is_read(table: list[tuple[str, str]]) -> None:
    text = io.StringIO(newline="")
    csv.writer(text, quoting=csv.QUOTE_ALL).writerows([("text", "label"), *table])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "a.csv")
        path.write_bytes(text.getvalue().encode())
        examples = read_examples(path)
        assert [(e.text("text"), e.text("label")) for e in examples] == table
        assert examples[len(table) - 1].text("text") == table[-1][0]


def test_a_long_text(write: Write) -> None:
    assert len(rows(write("a.csv", f"text,label\n{'word ' * 60_000},a\n"))[0]["text"]) == 300_000


def test_a_byte_order_mark_and_windows_line_ends(write: Write) -> None:
    path = write("a.csv", b"\xef\xbb\xbftext,label\r\n" + "很好,正面\r\n".encode())
    assert rows(path) == [{"text": "很好", "label": "正面"}]


def test_the_line_of_a_row_behind_a_value_of_several_lines(write: Write) -> None:
    with pytest.raises(RowError, match=r"a\.csv:5: 1 values for the 2 fields text, label$"):
        read_examples(write("a.csv", 'text,label\n"one\ntwo\nthree",a\nalone\n'))


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ('text,label\none,a\n"never ends,b\n', r"a\.csv:3: its quotes do not match"),
        ('text,label\n"one"two,b\n', r"a\.csv:2: its quotes do not match"),
        ("text,label\none,a,b\n", r"a\.csv:2: 3 values for the 2 fields text, label"),
    ],
)
def test_a_malformed_row_is_named(write: Write, content: str, complaint: str) -> None:
    with pytest.raises(RowError, match=complaint):
        read_examples(write("a.csv", content))


@pytest.mark.parametrize("names", ["text,text", "text,,label"])
def test_names_that_cannot_be(write: Write, names: str) -> None:
    with pytest.raises(DataError, match="its first line must name the fields, each otherwise"):
        read_examples(write("a.csv", f"{names}\none,two\n"))


@pytest.mark.parametrize("content", ["", "text,label\n", "text,label\n\n"])
def test_no_examples(write: Write, content: str) -> None:
    with pytest.raises(DataError, match=r"a\.csv has no examples"):
        read_examples(write("a.csv", content))


def test_another_encoding(write: Write) -> None:
    with pytest.raises(DataError, match=r"a\.csv: not UTF-8 at byte \d+: save it as UTF-8 \(it reads as GB18030"):
        read_examples(write("a.csv", "text,label\n很好,正面\n".encode("gb18030")))
