"""Lists are printed while they are read, with the same content at any length."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from softprompt.cli.list_printer import MAX_TABLE_ROWS, print_json_list, print_rows


def numbered(count: int, said: list[str]) -> Iterator[tuple[str, str]]:
    for number in range(count):
        said.append(f"read {number}")
        yield f"row-{number}", "x" * (number % 7)


@pytest.mark.parametrize("count", [0, 1, MAX_TABLE_ROWS, MAX_TABLE_ROWS + 1, 350])
def test_every_table_row_is_printed_once_in_order(capsys: pytest.CaptureFixture[str], count: int) -> None:
    assert print_rows(("name", "note"), numbered(count, [])) == count
    words = capsys.readouterr().out.split()
    assert [word for word in words if word.startswith("row-")] == [f"row-{number}" for number in range(count)]


def test_long_lists_are_printed_while_they_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr("softprompt.cli.console.stdout_console.out", lambda line, highlight: said.append(line))
    print_rows(("name", "note"), numbered(350, said))
    printed = [place for place, line in enumerate(said) if line.startswith("row-")]
    assert len(printed) == 350
    assert printed[MAX_TABLE_ROWS] < said.index(f"read {MAX_TABLE_ROWS + 1}")


def test_columns_are_aligned_and_a_long_text_shifts_only_its_own_line(
    capsys: pytest.CaptureFixture[str],
) -> None:
    rows = [("a" * (number % 5), "b") for number in range(150)] + [("a" * 60, "b"), ("電影", "b")]
    print_rows(("name", "note"), rows)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "name  note"
    assert {line.index("b") for line in lines[1:151]} == {6}
    assert lines[151:] == ["a" * 60 + "  b", "電影  b"]


@pytest.mark.parametrize("text", ["two\nlines", "\x1b[2J", "\u202eright to left", "\x07", "a\rb"])
def test_control_characters_in_a_long_list_are_escaped(capsys: pytest.CaptureFixture[str], text: str) -> None:
    print_rows(("name", "note"), [(text, "end")] * (MAX_TABLE_ROWS + 1))
    lines = capsys.readouterr().out.split("\n")
    assert len(lines) == MAX_TABLE_ROWS + 3
    assert all(line.isprintable() for line in lines)


@pytest.mark.parametrize("count", [0, 1, 3])
def test_json_list_of_any_length_is_printed_as_one_object(capsys: pytest.CaptureFixture[str], count: int) -> None:
    items = [{"number": number, "text": "é\n"} for number in range(count)]
    print_json_list("prompts", iter(items))
    printed = capsys.readouterr().out
    assert printed == json.dumps({"prompts": items}, ensure_ascii=False) + "\n"
