"""Labels as people write them: without white space around them, and those that look alike are pointed out."""

from __future__ import annotations

import logging
import re
import unicodedata
from collections.abc import Mapping, Sequence

from softprompt.data import Example
from softprompt.errors import RowError

logger = logging.getLogger(__name__)


def label_of(example: Example, field: str) -> str:
    """The label in an example's field, without white space around it.

    Raises:
        RowError: there is no such field, it is no text, or it is blank.
    """
    label = example.text(field).strip()
    if not label:
        raise RowError(example.where, f"no label: its field {field!r} is blank")
    return label


def warn_of_look_alikes(counts: Mapping[str, int]) -> None:
    """Note which of the labels, each with the number of its examples, differ only in case, width or white space."""
    for group in look_alikes([*counts]):
        named = " and ".join(f"{label!r} ({counts[label]:,} {_examples(counts[label])})" for label in group)
        logger.warning("the labels %s look alike and are different labels: write them alike if they are one", named)


def _examples(count: int) -> str:
    return "example" if count == 1 else "examples"


def look_alikes(labels: Sequence[str]) -> list[list[str]]:
    """The labels that differ in nothing but case, width, white space, invisible characters, or `.0` behind a number."""
    groups: dict[str, list[str]] = {}
    for label in labels:
        groups.setdefault(_plain(label), []).append(label)
    return [group for group in groups.values() if len(group) > 1]


def look_alike(label: str, labels: Sequence[str]) -> str | None:
    """The one of the labels that this one, which is none of them, looks like."""
    return next((each for each in labels if _plain(each) == _plain(label)), None)


def _plain(label: str) -> str:
    text = unicodedata.normalize("NFKC", label).casefold()
    text = "".join(character for character in text if unicodedata.category(character) != "Cf")
    return re.sub(r"(?<=\d)\.0+\Z", "", "".join(text.split()))
