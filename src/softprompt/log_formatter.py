"""Log formatter that escapes control characters, so that logged text cannot control a terminal or fake log lines."""

from __future__ import annotations

import logging

from softprompt.unicode_text import escape_controls


class EscapingLogFormatter(logging.Formatter):
    """Formatter that escapes control and bidirectional characters of a record, and line ends in its message.

    A traceback after the message keeps its lines.
    """

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's own name
        """Format the message on one line."""
        return escape_controls(super().formatMessage(record), keep="\t")

    def format(self, record: logging.LogRecord) -> str:
        """Format the message and its traceback."""
        return escape_controls(super().format(record))
