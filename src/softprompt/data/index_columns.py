"""The columns in which pandas writes the index of a table. They say nothing about a row and are ignored."""

from __future__ import annotations

import re
from collections.abc import Iterable

INDEX_COLUMN = "Unnamed: 0"
"""What pandas calls a first column without a name, as it writes an index into a CSV file."""

NAMES = re.compile(r"Unnamed: 0(\.\d+)*|__index_level_\d+__")  # the second in Parquet files


def index_columns(names: Iterable[str]) -> list[str]:
    """Those of a row's fields that are a table's index."""
    return [name for name in names if NAMES.fullmatch(name)]
