"""SIGTERM before a program serves: it stops soon and says so. It knows nothing of what is stopped.

Without a handler nothing would be said, and the first process of a container would not even stop: there the kernel
passes the signal over.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

EXIT_CODE = 128 + signal.SIGTERM
PATIENCE = 5.0  # seconds that whatever runs has to end


class Terminated(BaseException):
    """SIGTERM came. Its words say during what."""


@contextmanager
def terminable(during: str) -> Iterator[None]:
    """Have SIGTERM end what runs here: by `Terminated`, and after a few seconds in any case.

    Whatever is written is written whole or not at all, so a process may be ended anywhere.

    Args:
        during: what runs, as `while loading the model`.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # signals are for the main thread alone
        return

    backstop = threading.Timer(PATIENCE, os._exit, (EXIT_CODE,))
    backstop.daemon = True

    def end(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
        """End it; a second signal does so at once."""
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        backstop.start()
        raise Terminated(during)

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        backstop.cancel()
        signal.signal(signal.SIGTERM, before)
