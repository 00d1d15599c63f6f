"""Log lines that anybody can bring about, each shown once in a while: who can have lines written can fill a disk."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

LOGGERS = ("asyncio", "uvicorn.error")  # who write a line for what any client does: a request that is none, for one
NO_DESCRIPTORS = "socket.accept() out of system resource"  # asyncio's; it comes with a traceback, many times a second
EVERY = 60.0  # seconds between two lines that say the same
MOST = 1000  # different lines that are remembered


class LogLimit(logging.Filter):
    """Lets a line through if it has not been said for a while, with the number of times that it was held back.

    Lines are the same if their templates are; what was put in may be a client's. Whatever has a traceback is a fault of
    ours and shown each time, but for what is said of descriptors that have run out.

    Args:
        every: seconds between two lines.
        clock: gives seconds, from whenever.
    """

    def __init__(self, every: float = EVERY, clock: Callable[[], float] = time.monotonic):
        super().__init__()
        self._every, self._clock = every, clock
        self._shown: dict[str, tuple[float, int]] = {}  # when it was shown last, and how often not since then

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the line is shown."""
        said, now = str(record.msg).partition("\n")[0], self._clock()
        if record.exc_info and said != NO_DESCRIPTORS:
            return True
        shown, held_back = self._shown.get(said, (-self._every, 0))
        if now - shown < self._every:
            self._shown[said] = shown, held_back + 1
            return False
        if len(self._shown) >= MOST:
            self._shown.clear()
        self._shown[said] = now, 0
        if held_back:
            record.msg = f"{record.msg} ({held_back} more like it were not shown)"
        return True


def limit_logs() -> None:
    """Have what anybody can bring about be said once in a while, in this process, from now on."""
    for name in LOGGERS:
        logger = logging.getLogger(name)
        if not any(isinstance(each, LogLimit) for each in logger.filters):
            logger.addFilter(LogLimit())
