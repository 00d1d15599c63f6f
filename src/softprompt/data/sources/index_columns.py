"""Recognize the columns in which pandas writes the index of a table. They carry no data and are ignored."""

from __future__ import annotations

import re
from collections.abc import Iterable

PANDAS_INDEX_COLUMN = "Unnamed: 0"
"""The name that pandas gives to an unnamed first column, such as an index written to CSV."""

INDEX_COLUMN_PATTERN = re.compile(r"Unnamed: 0(\.\d+)*|__index_level_\d+__")  # the second in Parquet files


def find_index_columns(columns: Iterable[str]) -> list[str]:
    """Return the columns that are a table index."""
    return [name for name in columns if INDEX_COLUMN_PATTERN.fullmatch(name)]
