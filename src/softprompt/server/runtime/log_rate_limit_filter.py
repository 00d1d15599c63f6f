"""Rate limit of log lines that clients can trigger, so that clients cannot fill the disk."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

# Loggers of events that any client can trigger, such as invalid requests.
LIMITED_LOGGERS = ("asyncio", "uvicorn.error")
# asyncio logs this message with a traceback, many times a second.
ACCEPT_ERROR_MESSAGE = "socket.accept() out of system resource"
MIN_INTERVAL_S = 60.0  # seconds between two equal lines
MAX_TRACKED_MESSAGES = 1000  # distinct lines that are remembered


class LogRateLimitFilter(logging.Filter):
    """A filter that shows equal log lines once per interval, with the number of suppressed lines.

    Lines are equal if their templates are, as the arguments may be a client's. Lines with a traceback are the server's
    own failures and always shown, except for exhausted file descriptors.

    Args:
        interval_s: seconds between two equal lines.
        clock: monotonic clock, in seconds.
    """

    def __init__(self, interval_s: float = MIN_INTERVAL_S, clock: Callable[[], float] = time.monotonic):
        super().__init__()
        self._interval_s, self._clock = interval_s, clock
        self._last_shown: dict[str, tuple[float, int]] = {}  # time of the last line, and lines suppressed since then

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether to show a line."""
        template, now = str(record.msg).partition("\n")[0], self._clock()
        if record.exc_info and template != ACCEPT_ERROR_MESSAGE:
            return True
        shown_at, num_suppressed = self._last_shown.get(template, (-self._interval_s, 0))
        if now - shown_at < self._interval_s:
            self._last_shown[template] = shown_at, num_suppressed + 1
            return False
        if len(self._last_shown) >= MAX_TRACKED_MESSAGES:
            self._last_shown.clear()
        self._last_shown[template] = now, 0
        if num_suppressed:
            record.msg = f"{record.msg} ({num_suppressed} similar lines were suppressed)"
        return True


def install_log_filters() -> None:
    """Install the filter on loggers of events that clients can trigger."""
    for name in LIMITED_LOGGERS:
        logger = logging.getLogger(name)
        if not any(isinstance(log_filter, LogRateLimitFilter) for log_filter in logger.filters):
            logger.addFilter(LogRateLimitFilter())
