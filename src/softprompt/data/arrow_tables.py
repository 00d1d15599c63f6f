"""Tables of the `datasets` library, mapped from the disk: Parquet files and the folders that `save_to_disk` writes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, final

from softprompt.data.rows import ListedRows, Rows
from softprompt.errors import DataError, SoftPromptError, first_line

READ_AT_ONCE = 1000
TRAIN = "train"
FAILURES = (OSError, ValueError, RuntimeError, LookupError)  # as which datasets says that it cannot read something
WRITTEN = ("state.json", "dataset_dict.json")  # what save_to_disk leaves in a folder


@final
class TableRows(Rows):
    """The rows of a `datasets.Dataset`. Where a column's numbers have names (ClassLabel), the rows have the names.

    A column may hold a list of them in each row.
    """

    def __init__(self, name: str, table: Any):
        from datasets import ClassLabel

        kinds = {field: getattr(kind, "feature", kind) for field, kind in table.features.items()}
        self.name, self.table = name, table
        self.labels = {field: kind.names for field, kind in kinds.items() if isinstance(kind, ClassLabel)}

    def __len__(self) -> int:
        return len(self.table)

    def where(self, index: int) -> str:
        """The table and the row's number, from 1."""
        return f"{self.name}, row {index + 1}"

    def read(self, indices: Iterable[int]) -> Iterator[dict[str, Any]]:
        """The rows with these numbers, in batches: a row by itself takes a hundred times as long."""
        remaining = iter(indices)
        while batch := list(islice(remaining, READ_AT_ONCE)):
            columns = self.table[batch]
            for field, names in self.labels.items():
                columns[field] = [_name(names, number) for number in columns[field]]
            for values in zip(*columns.values(), strict=True):
                yield dict(zip(columns, values, strict=True))


def _name(names: list[str], number: int | list[int] | None) -> str | list[str | None] | None:
    if isinstance(number, list):
        return [_single(names, each) for each in number]
    return _single(names, number)


def _single(names: list[str], number: int | None) -> str | None:
    # A test set without answers has -1 in their place.
    return names[number] if number is not None and 0 <= number < len(names) else None


def read_parquet(path: Path) -> Rows:
    """The rows of a Parquet file, which `datasets` unpacks once into its cache.

    Raises:
        DataError: it is none, or cannot be unpacked.
    """
    import pyarrow
    from pyarrow import parquet

    try:
        count = parquet.read_metadata(path).num_rows  # datasets would say no more than that something went wrong
    except (pyarrow.ArrowException, OSError) as error:
        raise DataError(f"{path} is no Parquet file: {first_line(error)}") from error
    if not count:  # which datasets takes for an error
        return ListedRows(str(path), [])
    with table_errors(str(path)):
        from datasets import Dataset

        return TableRows(str(path), Dataset.from_parquet(str(path)))


def read_folder(path: Path) -> Rows:
    """The rows of a folder that `save_to_disk` wrote; of one with several splits, those of `train`.

    Raises:
        DataError: it is none, or has splits and none of that name.
    """
    if not any((path / file).is_file() for file in WRITTEN):
        raise DataError(f"{path} is a folder, and none that save_to_disk wrote: name a file in it")
    with table_errors(str(path)):
        from datasets import Dataset, load_from_disk

        table = load_from_disk(str(path))
        if isinstance(table, Dataset):
            return TableRows(str(path), table)
        if TRAIN not in table:
            raise DataError(f"{path} has the splits {', '.join(table)}: name one, as {path / next(iter(table))}")
        return TableRows(str(path / TRAIN), table[TRAIN])


@contextmanager
def table_errors(name: str) -> Iterator[None]:
    """Inside, `datasets` draws no bars of its own, and what it complains of is a DataError about `name`.

    Raises:
        DataError: it did.
    """
    import datasets
    import pyarrow

    bars = datasets.are_progress_bars_disabled()
    datasets.disable_progress_bars()
    try:
        yield
    except SoftPromptError:
        raise
    except (*FAILURES, pyarrow.ArrowException, datasets.exceptions.DatasetsError) as error:
        raise DataError(f"{name} cannot be read: {first_line(error)}") from error
    finally:
        if not bars:
            datasets.enable_progress_bars()
