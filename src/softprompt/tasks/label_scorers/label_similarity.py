"""Find labels that look alike, such as those that differ only in case."""

from __future__ import annotations

import logging
import re
import unicodedata
from collections.abc import Mapping, Sequence

logger = logging.getLogger(__name__)


def warn_of_similar_labels(counts: Mapping[str, int]) -> None:
    """Log labels that differ only in case, width or white space, with the number of their examples."""
    for group in group_similar_labels([*counts]):
        description = " and ".join(
            f"{label!r} ({counts[label]:,} {_pluralize_example(counts[label])})" for label in group
        )
        logger.warning(
            "the labels %s look alike but are different labels: use one spelling if they are the same", description
        )


def _pluralize_example(count: int) -> str:
    return "example" if count == 1 else "examples"


def group_similar_labels(labels: Sequence[str]) -> list[list[str]]:
    """Group labels that differ only in case, width, white space, invisible characters, or `.0` after a number."""
    groups: dict[str, list[str]] = {}
    for label in labels:
        groups.setdefault(_normalize_label(label), []).append(label)
    return [group for group in groups.values() if len(group) > 1]


def find_similar_label(label: str, labels: Sequence[str]) -> str | None:
    """Return the first of the labels that looks like an unknown label; None without such a label."""
    return next((candidate for candidate in labels if _normalize_label(candidate) == _normalize_label(label)), None)


def _normalize_label(label: str) -> str:
    text = unicodedata.normalize("NFKC", label).casefold()
    text = "".join(character for character in text if unicodedata.category(character) != "Cf")
    return re.sub(r"(?<=\d)\.0+\Z", "", "".join(text.split()))
