"""Memory-mapped tables of the `datasets` library: Parquet files and folders written by `save_to_disk`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, final

from softprompt.data.sources.records import InMemoryRecords, RecordSource
from softprompt.errors import DataError, SoftPromptError, summarize_error

READ_BATCH_SIZE = 1000
DEFAULT_SPLIT = "train"
DATASETS_ERRORS = (OSError, ValueError, RuntimeError, LookupError)  # raised by datasets for unreadable data
SAVED_DATASET_MARKERS = ("state.json", "dataset_dict.json")  # files that save_to_disk writes into its folder


@final
class ArrowRecords(RecordSource):
    """A source of the records of a `datasets.Dataset`. Class indices (ClassLabel) are replaced by class names.

    A column may hold a list of class indices in each record.
    """

    def __init__(self, name: str, dataset: Any):
        from datasets import ClassLabel

        features = {field: getattr(feature, "feature", feature) for field, feature in dataset.features.items()}
        self.name, self.dataset = name, dataset
        self.class_names = {
            field: feature.names for field, feature in features.items() if isinstance(feature, ClassLabel)
        }

    def __len__(self) -> int:
        return len(self.dataset)

    def format_location(self, index: int) -> str:
        """Return the table and the number of the record, counted from 1."""
        return f"{self.name}, row {index + 1}"

    def read_records(self, indices: Iterable[int]) -> Iterator[dict[str, Any]]:
        """Read the records with these indices, in batches: reading one by one takes a hundred times as long."""
        remaining = iter(indices)
        while batch := list(islice(remaining, READ_BATCH_SIZE)):
            columns = self.dataset[batch]
            for field, names in self.class_names.items():
                columns[field] = [_to_class_names(names, number) for number in columns[field]]
            for values in zip(*columns.values(), strict=True):
                yield dict(zip(columns, values, strict=True))


def _to_class_names(class_names: list[str], class_index: int | list[int] | None) -> Any:
    """Return the name of a class, or the names of a list of classes; None for a missing index."""
    if isinstance(class_index, list):
        return [_to_class_names(class_names, index) for index in class_index]
    # A test set without labels has the class index -1.
    return class_names[class_index] if class_index is not None and 0 <= class_index < len(class_names) else None


def read_parquet(path: Path) -> RecordSource:
    """Read the records of a Parquet file, which `datasets` converts once into its cache.

    Raises:
        DataError: the file is not Parquet, or cannot be converted.
    """
    import pyarrow
    from pyarrow import parquet

    try:
        count = parquet.read_metadata(path).num_rows  # gives the cause of an error, unlike datasets
    except (pyarrow.ArrowException, OSError) as error:
        raise DataError(f"{path} is not a Parquet file: {summarize_error(error)}") from error
    if not count:  # datasets rejects an empty table
        return InMemoryRecords(str(path), [])
    with translate_datasets_errors(str(path)):
        from datasets import Dataset

        return ArrowRecords(str(path), Dataset.from_parquet(str(path)))


def read_saved_dataset(path: Path) -> RecordSource:
    """Read the records of a folder written by `save_to_disk`; of a folder with several splits, those of `train`.

    Raises:
        DataError: the folder is not a saved dataset, or has splits but not `train`.
    """
    if not any((path / file).is_file() for file in SAVED_DATASET_MARKERS):
        raise DataError(f"{path} is a folder but not a dataset saved with save_to_disk: use a file inside it")
    with translate_datasets_errors(str(path)):
        from datasets import Dataset, load_from_disk

        table = load_from_disk(str(path))
        if isinstance(table, Dataset):
            return ArrowRecords(str(path), table)
        if DEFAULT_SPLIT not in table:
            raise DataError(f"{path} has the splits {', '.join(table)}: choose one, such as {path / next(iter(table))}")
        return ArrowRecords(str(path / DEFAULT_SPLIT), table[DEFAULT_SPLIT])


@contextmanager
def translate_datasets_errors(source_name: str) -> Iterator[None]:
    """Convert errors of `datasets` inside the context to DataError, and hide its progress bars.

    Raises:
        DataError: `datasets` could not read the source.
    """
    import datasets
    import pyarrow

    were_bars_disabled = datasets.are_progress_bars_disabled()
    datasets.disable_progress_bars()
    try:
        yield
    except SoftPromptError:
        raise
    except (*DATASETS_ERRORS, pyarrow.ArrowException, datasets.exceptions.DatasetsError) as error:
        raise DataError(f"{source_name} cannot be read: {summarize_error(error)}") from error
    finally:
        if not were_bars_disabled:
            datasets.enable_progress_bars()
