"""A log filter that drops repeated messages."""

from __future__ import annotations

import logging


class RepeatFilter(logging.Filter):
    """A filter that passes each message once. Without it, all runs of a sweep would repeat the same notes."""

    def __init__(self) -> None:
        super().__init__()
        self._seen_messages: set[str] = set()

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether the message is new."""
        message = record.getMessage()
        is_new = message not in self._seen_messages
        self._seen_messages.add(message)
        return is_new
