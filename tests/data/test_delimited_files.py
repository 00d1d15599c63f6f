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


@pytest.mark.parametrize("name", ["a.csv", "a.tsv"])
@pytest.mark.parametrize("mark", [",", ";", "\t", "|"])
def test_what_separates_the_names_separates_the_values(write: Write, name: str, mark: str) -> None:
    text = mark.join(["text", "label"]) + "\n" + mark.join(['"cold, again; and | so\ton"', "bad"]) + "\n"
    assert rows(write(name, text)) == [{"text": "cold, again; and | so\ton", "label": "bad"}]


def test_another_separator_is_said(write: Write, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO"):
        read_examples(write("a.csv", "text;label\none, or two;a\n"))
    assert "its values are separated by semicolons" in caplog.text


def test_names_that_hold_two_separators_are_taken_as_the_ending_says(write: Write) -> None:
    assert rows(write("a.csv", "text;all,label\none,a\n")) == [{"text;all": "one", "label": "a"}]


@pytest.mark.parametrize("first", ["sep=;\r\n", '"sep=;"\n'])
def test_the_line_in_which_excel_says_the_separator(write: Write, first: str) -> None:
    path = write("a.csv", f"{first}text;label\none, two;a\n")
    assert rows(path) == [{"text": "one, two", "label": "a"}]
    assert read_examples(path)[0].where == f"{path}:3"


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl"])
def test_carriage_returns_end_lines_where_nothing_else_does(write: Write, name: str) -> None:
    lines = {"a.csv": ["text,label", "one,a", '"two\rmore",b'], "a.jsonl": ['{"text": "one"}', '{"text": "two"}']}[name]
    path = write(name, "\r".join(lines) + "\r")
    examples = read_examples(path)
    assert [example.text("text") for example in examples] == (
        ["one", "two\rmore"] if name == "a.csv" else ["one", "two"]
    )
    assert examples[1].where == f"{path}:{3 if name == 'a.csv' else 2}"


def test_line_ends_of_two_kinds_are_named(write: Write) -> None:
    with pytest.raises(RowError, match=r"a\.csv:3: a carriage return stands in a value without quotes"):
        read_examples(write("a.csv", "text,label\none,a\ntwo,b\rthree,a\n"))


@pytest.mark.parametrize("name", ["", " ", '""', "Unnamed: 0"])
def test_the_index_that_pandas_writes_is_ignored(write: Write, caplog: pytest.LogCaptureFixture, name: str) -> None:
    with caplog.at_level("INFO"):
        assert rows(write("a.csv", f"{name},text,label\n0,one,a\n1,two,b\n")) == [
            {"text": "one", "label": "a"},
            {"text": "two", "label": "b"},
        ]
    assert "the field 'Unnamed: 0' is a table's index and is ignored" in caplog.text


def test_an_index_that_was_written_twice_is_ignored(write: Write) -> None:
    assert rows(write("a.csv", ",Unnamed: 0,text\n0,0,one\n")) == [{"text": "one"}]


def test_an_index_that_is_asked_for_is_a_field(write: Write) -> None:
    [example] = read_examples(write("a.csv", ",text\n7,one\n"), {"label": "Unnamed: 0"})
    assert example.fields == {"text": "one", "label": "7"}


@pytest.mark.usefixtures("cache")
def test_the_index_of_a_table_is_ignored(write: Write) -> None:
    import pyarrow
    from pyarrow import parquet

    sink = io.BytesIO()
    parquet.write_table(pyarrow.table({"text": ["one"], "label": ["a"], "__index_level_0__": [0]}), sink)
    assert rows(write("a.parquet", sink.getvalue())) == [{"text": "one", "label": "a"}]
    assert rows(write("a.jsonl", '{"Unnamed: 0": 0, "text": "one"}')) == [{"text": "one"}]
