"""Lists of any length, printed while they are read: a table where it is short, plain columns where it is long; JSON.

A table is as wide as its widest row, so all rows have to be there before the first is printed, and measuring them takes
longer than reading them. The columns of a long list are as wide as its first rows; a longer text moves its line's end.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from rich.cells import cell_len
from rich.markup import escape
from rich.table import Column, Table

from softprompt.cli import output
from softprompt.cli.terminal import json_text
from softprompt.unicode_text import escape_controls

MOST_IN_TABLE = 100  # rows; what is longer is printed in plain columns
WIDEST = 40  # cells of a column that all lines leave room for

Titles = Sequence[str | Column]
Cells = Sequence[str]


def print_rows(titles: Titles, rows: Iterable[Cells]) -> int:
    """Print rows for people.

    Args:
        titles: of the columns.
        rows: their cells; they are asked for while they are printed.

    Returns:
        How many there were. Of none nothing is printed.
    """
    left = iter(rows)
    first = list(itertools.islice(left, MOST_IN_TABLE + 1))
    if len(first) <= MOST_IN_TABLE:
        _print_table(titles, first)
        return len(first)
    return _print_columns([str(each.header) if isinstance(each, Column) else each for each in titles], first, left)


def print_json_list(name: str, items: Iterable[Any]) -> None:
    """Print one JSON object with a list, on one line; the items are asked for while it is printed.

    Args:
        name: of the list in the object.
        items: what is in it.
    """
    if output.speaks:
        print(json_text({name: []})[:-2], end="")  # noqa: T201
        for number, item in enumerate(items):
            print(", " if number else "", json_text(item), sep="", end="")  # noqa: T201
        print("]}")  # noqa: T201


def _print_table(titles: Titles, rows: Sequence[Cells]) -> None:
    if rows:
        table = Table(*titles)
        for row in rows:
            table.add_row(*(escape(escape_controls(cell, keep="")) for cell in row))
        output.people.print(table)


def _print_columns(titles: Sequence[str], first: Sequence[Cells], left: Iterator[Cells]) -> int:
    widths = [min(WIDEST, max(map(cell_len, column))) for column in zip(titles, *first, strict=True)]
    output.people.out(_line(titles, widths), highlight=False)
    count = 0
    for row in itertools.chain(first, left):
        output.people.out(_line(row, widths), highlight=False)
        count += 1
    return count


def _line(cells: Cells, widths: Sequence[int]) -> str:
    shown = [escape_controls(cell, keep="") for cell in cells]
    return "  ".join(cell + " " * (width - cell_len(cell)) for cell, width in zip(shown, widths, strict=True)).rstrip()
