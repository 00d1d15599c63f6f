"""Log lines that are shown once, however often they are said."""

from __future__ import annotations

import logging


class RepeatFilter(logging.Filter):
    """Lets each message through once: all runs of a sweep would say the same of their data."""

    def __init__(self) -> None:
        super().__init__()
        self._shown: set[str] = set()

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the message is new."""
        message = record.getMessage()
        is_new = message not in self._shown
        self._shown.add(message)
        return is_new
