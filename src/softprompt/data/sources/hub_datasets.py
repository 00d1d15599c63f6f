"""Datasets of the Hugging Face Hub: `hf:NAME#CONFIG:SPLIT[SLICE]`, where only the name is required."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from softprompt.data.sources.arrow_records import DEFAULT_SPLIT, ArrowRecords, translate_datasets_errors
from softprompt.data.sources.records import RecordSource
from softprompt.errors import DataError, HubUnreachable, RepositoryNotFound, SettingError
from softprompt.hub_probe import probe_hub_repo

logger = logging.getLogger(__name__)

HUB_PREFIX = "hf:"
REFERENCE_PATTERN = re.compile(
    r"hf:(?P<name>[\w.-]+(/[\w.-]+)?)(#(?P<config>[^:\[\]]+))?(:(?P<split>\w[\w.-]*))?"
    r"(?P<part>\[(-?\d+%?)?:(-?\d+%?)?\])?"
)


@dataclass(frozen=True)
class HubDatasetRef:
    """A reference to a part of a dataset on the Hub.

    Attributes:
        name: name of the dataset, such as `yelp_review_full` or `nyu-mll/glue`.
        config: name of the configuration; None for the only one.
        split: name of the split.
        split_slice: slice of the records, such as `[:1000]` or `[90%:]`; empty for all.
    """

    name: str
    config: str | None = None
    split: str = DEFAULT_SPLIT
    split_slice: str = ""

    @classmethod
    def parse(cls, text: str) -> HubDatasetRef:
        """Parse a reference such as `hf:nyu-mll/glue#sst2:validation[:1000]`.

        Raises:
            SettingError: the reference is malformed.
        """
        match = REFERENCE_PATTERN.fullmatch(text)
        if match is None:
            raise SettingError(
                f"{text}: invalid Hub dataset. Use hf:NAME[#CONFIG][:SPLIT][FROM:TO], "
                "such as hf:nyu-mll/glue#sst2:validation[:1000]"
            )
        return cls(match["name"], match["config"], match["split"] or DEFAULT_SPLIT, match["part"] or "")


def read_hub_dataset(reference: str) -> RecordSource:
    """Read the records of a Hub dataset, downloaded or from the cache of `datasets`.

    Raises:
        SettingError: the reference is malformed.
        HubUnreachable: the Hub cannot be reached and the dataset is not cached.
        DataError: the dataset does not exist, or cannot be read.
    """
    dataset_ref = HubDatasetRef.parse(reference)
    try:
        connection_error = probe_hub_repo("dataset", dataset_ref.name)
    except RepositoryNotFound as error:
        raise DataError(f"dataset {dataset_ref.name!r} not found: {error}") from error
    if connection_error is None:
        with translate_datasets_errors(reference):
            return _load_split(reference, dataset_ref)
    try:
        with translate_datasets_errors(reference), _force_offline():
            records = _load_split(reference, dataset_ref)
    except DataError as error:
        raise HubUnreachable(
            f"{reference} is not in the cache and the Hub cannot be reached: connect to the network or use a file "
            f"({connection_error})"
        ) from error
    logger.warning("%s: the Hub cannot be reached; using the cached copy", reference)
    return records


def _load_split(source_name: str, dataset_ref: HubDatasetRef) -> RecordSource:
    from datasets import load_dataset

    return ArrowRecords(
        source_name,
        load_dataset(dataset_ref.name, dataset_ref.config, split=dataset_ref.split + dataset_ref.split_slice),
    )


@contextmanager
def _force_offline() -> Iterator[None]:
    """Make `datasets` read only its cache inside the context, without network access."""
    from datasets import config

    previous = config.HF_HUB_OFFLINE
    config.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        config.HF_HUB_OFFLINE = previous
