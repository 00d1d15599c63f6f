"""Whether a comparison may be measured on examples that are among those that were learnt from."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from softprompt.errors import DataError

logger = logging.getLogger(__name__)


def check_overlap(overlap: Mapping[str, int], allowed: bool) -> None:
    """Whether the test examples are apart from the others.

    Raises:
        DataError: they are not, and that is not allowed.
    """
    shared = {pair: count for pair, count in overlap.items() if count}
    said = "; ".join(f"{pair} have {count} inputs in common" for pair, count in shared.items())
    if any(pair.endswith("and test") for pair in shared) and not allowed:
        raise DataError(
            f"{said}: figures on the test set would flatter. Take them out, or allow it with `allow_overlap=True`"
        )
    if shared:
        logger.warning("%s", said)
