"""Data sets of the Hugging Face Hub: `hf:NAME#CONFIG:SPLIT[SLICE]`, of which only the name is needed."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from softprompt.asking import why_unreachable
from softprompt.data.arrow_tables import TRAIN, TableRows, table_errors
from softprompt.data.rows import Rows
from softprompt.errors import DataError, NoNetwork, RepositoryNotFound, SettingError

logger = logging.getLogger(__name__)

PREFIX = "hf:"
WRITTEN = re.compile(
    r"hf:(?P<name>[\w.-]+(/[\w.-]+)?)(#(?P<config>[^:\[\]]+))?(:(?P<split>\w[\w.-]*))?"
    r"(?P<part>\[(-?\d+%?)?:(-?\d+%?)?\])?"
)


@dataclass(frozen=True)
class HubName:
    """A part of a data set on the Hub.

    Attributes:
        name: `yelp_review_full`, `nyu-mll/glue`.
        config: which of its configurations, where it has several.
        split: which split.
        part: which rows, as `[:1000]` or `[90%:]`; empty for all.
    """

    name: str
    config: str | None = None
    split: str = TRAIN
    part: str = ""

    @classmethod
    def parse(cls, text: str) -> HubName:
        """A name as it is written on the command line.

        Raises:
            SettingError: it cannot be read.
        """
        found = WRITTEN.fullmatch(text)
        if found is None:
            raise SettingError(
                f"{text}: write hf:NAME, and behind it what is needed of #CONFIG, :SPLIT and [FROM:TO], "
                "as hf:nyu-mll/glue#sst2:validation[:1000]"
            )
        return cls(found["name"], found["config"], found["split"] or TRAIN, found["part"] or "")


def read_hub(text: str) -> Rows:
    """The rows of a data set, downloaded first or out of the cache of `datasets`.

    Raises:
        SettingError: the name cannot be read.
        NoNetwork: the Hub cannot be reached and the cache does not hold the data set.
        DataError: there is no such data set, or it cannot be read.
    """
    wanted = HubName.parse(text)
    try:
        unreachable = why_unreachable("dataset", wanted.name)
    except RepositoryNotFound as error:
        raise DataError(f"no data set {wanted.name!r}: {error}") from error
    if unreachable is None:
        with table_errors(text):
            return _loaded(text, wanted)
    try:
        with table_errors(text), _offline():
            rows = _loaded(text, wanted)
    except DataError as error:
        raise NoNetwork(
            f"{text} is not in the cache and the Hub cannot be reached: connect, or give a file ({unreachable})"
        ) from error
    logger.warning("%s: the Hub cannot be reached, so this is the copy in the cache", text)
    return rows


def _loaded(text: str, wanted: HubName) -> Rows:
    from datasets import load_dataset

    return TableRows(text, load_dataset(wanted.name, wanted.config, split=wanted.split + wanted.part))


@contextmanager
def _offline() -> Iterator[None]:
    """Inside, `datasets` looks into its cache and asks nobody."""
    from datasets import config

    before = config.HF_HUB_OFFLINE
    config.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        config.HF_HUB_OFFLINE = before
