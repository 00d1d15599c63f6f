"""Checks that test examples do not occur in the other splits."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from softprompt.errors import DataError

logger = logging.getLogger(__name__)


def check_overlap(overlap: Mapping[str, int], allow_overlap: bool) -> None:
    """Check that the test set shares no inputs with the other splits, and log other overlaps.

    Args:
        overlap: number of shared inputs by pair of splits.
        allow_overlap: only log an overlap with the test set.

    Raises:
        DataError: the test set overlaps, and `allow_overlap` is False.
    """
    shared = {pair: count for pair, count in overlap.items() if count}
    summary = "; ".join(f"{pair} have {count} inputs in common" for pair, count in shared.items())
    if any(pair.endswith("and test") for pair in shared) and not allow_overlap:
        raise DataError(
            f"{summary}: test metrics would be too optimistic. Remove the shared inputs, or pass `allow_overlap=True`"
        )
    if shared:
        logger.warning("%s", summary)
