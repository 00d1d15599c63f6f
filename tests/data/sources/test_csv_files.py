"""CSV and TSV: every value is text, quotes may contain anything, and errors name the line."""

from __future__ import annotations

import csv
import io
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from softprompt.data import read_examples
from softprompt.errors import DataError, RecordError
from tests.data.conftest import Write

cells = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)


def rows(path: Path) -> list[dict[str, object]]:
    return [dict(example.fields) for example in read_examples(path)]


@pytest.mark.parametrize(("name", "mark"), [("a.csv", ","), ("a.tsv", "\t"), ("A.CSV", ",")])
def test_csv_has_a_header_and_one_record_per_line(write: Write, name: str, mark: str) -> None:
    path = write(name, f"text{mark}label\none{mark}1\n\ntwo{mark}0")
    assert rows(path) == [{"text": "one", "label": "1"}, {"text": "two", "label": "0"}]
    assert [example.location for example in read_examples(path)] == [f"{path}:2", f"{path}:4"]


@pytest.mark.parametrize("value", ["a,b", 'she said "so"', "two\nlines", "two\r\nlines", "", "NA", "007", "\u2028,"])
def test_quoted_value_may_contain_anything(write: Write, value: str) -> None:
    quoted = value.replace('"', '""')
    path = write("a.csv", f'text,label\n"{quoted}",a\nplain,b\n')
    assert rows(path) == [{"text": value, "label": "a"}, {"text": "plain", "label": "b"}]


@given(table=st.lists(st.tuples(cells, cells), min_size=1, max_size=5))
def test_csv_written_by_python_round_trips(table: list[tuple[str, str]]) -> None:
    text = io.StringIO(newline="")
    csv.writer(text, quoting=csv.QUOTE_ALL).writerows([("text", "label"), *table])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "a.csv")
        path.write_bytes(text.getvalue().encode())
        examples = read_examples(path)
        assert [(e.get_text("text"), e.get_text("label")) for e in examples] == table
        assert examples[len(table) - 1].get_text("text") == table[-1][0]


def test_csv_value_of_300000_characters_is_read(write: Write) -> None:
    assert len(rows(write("a.csv", f"text,label\n{'word ' * 60_000},a\n"))[0]["text"]) == 300_000


def test_csv_with_byte_order_mark_and_windows_line_ends_is_read(write: Write) -> None:
    path = write("a.csv", b"\xef\xbb\xbftext,label\r\n" + "很好,正面\r\n".encode())
    assert rows(path) == [{"text": "很好", "label": "正面"}]


def test_location_counts_lines_of_multiline_values(write: Write) -> None:
    with pytest.raises(RecordError, match=r"a\.csv:5: 1 values for 2 columns: text, label$"):
        read_examples(write("a.csv", 'text,label\n"one\ntwo\nthree",a\nalone\n'))


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ('text,label\none,a\n"never ends,b\n', r"a\.csv:3: unmatched quotes"),
        ('text,label\n"one"two,b\n', r"a\.csv:2: unmatched quotes"),
        ("text,label\none,a,b\n", r"a\.csv:2: 3 values for 2 columns: text, label"),
    ],
)
def test_malformed_record_error_names_the_line(write: Write, content: str, complaint: str) -> None:
    with pytest.raises(RecordError, match=complaint):
        read_examples(write("a.csv", content))


@pytest.mark.parametrize("names", ["text,text", "text,,label"])
def test_invalid_header_is_rejected(write: Write, names: str) -> None:
    with pytest.raises(DataError, match="the header must have unique, non-empty column names"):
        read_examples(write("a.csv", f"{names}\none,two\n"))


@pytest.mark.parametrize("content", ["", "text,label\n", "text,label\n\n"])
def test_table_without_records_is_rejected(write: Write, content: str) -> None:
    with pytest.raises(DataError, match=r"a\.csv has no examples"):
        read_examples(write("a.csv", content))


def test_csv_in_gb18030_is_rejected(write: Write) -> None:
    with pytest.raises(
        DataError, match=r"a\.csv: not valid UTF-8 at byte \d+: save the file as UTF-8 \(probably GB18030"
    ):
        read_examples(write("a.csv", "text,label\n很好,正面\n".encode("gb18030")))


@pytest.mark.parametrize("name", ["a.csv", "a.tsv"])
@pytest.mark.parametrize("mark", [",", ";", "\t", "|"])
def test_delimiter_is_detected_from_the_header(write: Write, name: str, mark: str) -> None:
    text = mark.join(["text", "label"]) + "\n" + mark.join(['"cold, again; and | so\ton"', "bad"]) + "\n"
    assert rows(write(name, text)) == [{"text": "cold, again; and | so\ton", "label": "bad"}]


def test_detected_delimiter_is_logged(write: Write, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO"):
        read_examples(write("a.csv", "text;label\none, or two;a\n"))
    assert "values are separated by semicolons" in caplog.text


def test_ambiguous_header_uses_the_default_delimiter(write: Write) -> None:
    assert rows(write("a.csv", "text;all,label\none,a\n")) == [{"text;all": "one", "label": "a"}]


@pytest.mark.parametrize("first", ["sep=;\r\n", '"sep=;"\n'])
def test_excel_separator_line_sets_the_delimiter(write: Write, first: str) -> None:
    path = write("a.csv", f"{first}text;label\none, two;a\n")
    assert rows(path) == [{"text": "one, two", "label": "a"}]
    assert read_examples(path)[0].location == f"{path}:3"


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl"])
def test_carriage_returns_end_lines_without_line_feeds(write: Write, name: str) -> None:
    lines = {"a.csv": ["text,label", "one,a", '"two\rmore",b'], "a.jsonl": ['{"text": "one"}', '{"text": "two"}']}[name]
    path = write(name, "\r".join(lines) + "\r")
    examples = read_examples(path)
    assert [example.get_text("text") for example in examples] == (
        ["one", "two\rmore"] if name == "a.csv" else ["one", "two"]
    )
    assert examples[1].location == f"{path}:{3 if name == 'a.csv' else 2}"


def test_mixed_line_ends_are_rejected(write: Write) -> None:
    with pytest.raises(RecordError, match=r"a\.csv:3: unquoted carriage return in a value"):
        read_examples(write("a.csv", "text,label\none,a\ntwo,b\rthree,a\n"))


@pytest.mark.parametrize("name", ["", " ", '""', "Unnamed: 0"])
def test_pandas_index_column_is_ignored(write: Write, caplog: pytest.LogCaptureFixture, name: str) -> None:
    with caplog.at_level("INFO"):
        assert rows(write("a.csv", f"{name},text,label\n0,one,a\n1,two,b\n")) == [
            {"text": "one", "label": "a"},
            {"text": "two", "label": "b"},
        ]
    assert "ignoring the field 'Unnamed: 0', which is a table index" in caplog.text


def test_repeated_pandas_index_columns_are_ignored(write: Write) -> None:
    assert rows(write("a.csv", ",Unnamed: 0,text\n0,0,one\n")) == [{"text": "one"}]


def test_index_column_in_the_column_map_is_not_ignored(write: Write) -> None:
    [example] = read_examples(write("a.csv", ",text\n7,one\n"), {"label": "Unnamed: 0"})
    assert example.fields == {"text": "one", "label": "7"}


@pytest.mark.usefixtures("cache")
def test_index_column_of_parquet_and_jsonl_is_ignored(write: Write) -> None:
    import pyarrow
    from pyarrow import parquet

    sink = io.BytesIO()
    parquet.write_table(pyarrow.table({"text": ["one"], "label": ["a"], "__index_level_0__": [0]}), sink)
    assert rows(write("a.parquet", sink.getvalue())) == [{"text": "one", "label": "a"}]
    assert rows(write("a.jsonl", '{"Unnamed: 0": 0, "text": "one"}')) == [{"text": "one"}]
