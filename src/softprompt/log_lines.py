"""Log lines: one record, one line, and nothing in it that a terminal obeys, whoever wrote what is logged."""

from __future__ import annotations

import logging

from softprompt.unicode_text import escape_controls


class LineFormatter(logging.Formatter):
    """Writes control and bidirectional characters of a record as escapes, the ends of lines in its message too.

    A traceback behind the message keeps its lines.
    """

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's own name
        """The message on one line."""
        return escape_controls(super().formatMessage(record), keep="\t")

    def format(self, record: logging.LogRecord) -> str:
        """The message, and a traceback if there is one."""
        return escape_controls(super().format(record))
