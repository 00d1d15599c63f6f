"""Prints lists of any length while they are read: short lists as a table, long lists in plain columns, or JSON.

A table is as wide as its widest row, so printing a table needs all rows first, and measuring takes longer than reading. So a
long list is printed in columns with the widths of its first rows; a longer cell shifts the rest of its line.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from rich.cells import cell_len
from rich.markup import escape
from rich.table import Column, Table

from softprompt.cli import console
from softprompt.cli.terminal_escapes import dump_json_line
from softprompt.unicode_text import escape_controls

MAX_TABLE_ROWS = 100  # a longer list is printed in plain columns
MAX_COLUMN_WIDTH = 40  # in terminal cells

ColumnTitles = Sequence[str | Column]
RowCells = Sequence[str]


def print_rows(titles: ColumnTitles, rows: Iterable[RowCells]) -> int:
    """Print rows as a table or in plain columns.

    Args:
        titles: column titles.
        rows: cells of each row, read while printing.

    Returns:
        The number of rows. Without rows nothing is printed.
    """
    remaining_rows = iter(rows)
    first_rows = list(itertools.islice(remaining_rows, MAX_TABLE_ROWS + 1))
    if len(first_rows) <= MAX_TABLE_ROWS:
        _print_table(titles, first_rows)
        return len(first_rows)
    texts = [str(title.header) if isinstance(title, Column) else title for title in titles]
    return _print_columns(texts, first_rows, remaining_rows)


def print_json_list(name: str, items: Iterable[Any]) -> None:
    """Print one JSON object with a list, on one line, and read the items while printing.

    Args:
        name: key of the list in the object.
        items: items of the list.
    """
    if console.is_main_process:
        print(dump_json_line({name: []})[:-2], end="")  # noqa: T201
        for number, item in enumerate(items):
            print(", " if number else "", dump_json_line(item), sep="", end="")  # noqa: T201
        print("]}")  # noqa: T201


def _print_table(titles: ColumnTitles, rows: Sequence[RowCells]) -> None:
    if rows:
        table = Table(*titles)
        for row in rows:
            table.add_row(*(escape(escape_controls(cell, keep="")) for cell in row))
        console.stdout_console.print(table)


def _print_columns(titles: Sequence[str], first_rows: Sequence[RowCells], remaining_rows: Iterator[RowCells]) -> int:
    widths = [min(MAX_COLUMN_WIDTH, max(map(cell_len, column))) for column in zip(titles, *first_rows, strict=True)]
    console.stdout_console.out(_format_line(titles, widths), highlight=False)
    count = 0
    for row in itertools.chain(first_rows, remaining_rows):
        console.stdout_console.out(_format_line(row, widths), highlight=False)
        count += 1
    return count


def _format_line(cells: RowCells, widths: Sequence[int]) -> str:
    shown = [escape_controls(cell, keep="") for cell in cells]
    return "  ".join(cell + " " * (width - cell_len(cell)) for cell, width in zip(shown, widths, strict=True)).rstrip()
