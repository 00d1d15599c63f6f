"""Handles SIGTERM while a server starts: the program exits soon, with a message.

Without a handler the process would end without a message. As PID 1 of a container the process would not end at all, because
the kernel ignores signals without a handler there.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

EXIT_TERMINATED = 128 + signal.SIGTERM
FORCED_EXIT_DELAY_S = 5.0  # time for a clean exit; after this the process is ended


class SigtermReceived(BaseException):
    """SIGTERM arrived. The message names the phase that it interrupted."""


@contextmanager
def exit_on_sigterm(phase: str) -> Iterator[None]:
    """Raise `SigtermReceived` on SIGTERM inside a `with` block, and end the process if the block does not exit in time.

    All files are written atomically, so the process may end at any point.

    Args:
        phase: description for the message, such as `while loading the model`.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # Python delivers signals only to the main thread
        return

    backstop = threading.Timer(FORCED_EXIT_DELAY_S, os._exit, (EXIT_TERMINATED,))
    backstop.daemon = True

    def handle_sigterm(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
        """Raise `SigtermReceived`. A second SIGTERM ends the process at once."""
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        backstop.start()
        raise SigtermReceived(phase)

    previous_handler = signal.signal(signal.SIGTERM, handle_sigterm)
    try:
        yield
    finally:
        backstop.cancel()
        signal.signal(signal.SIGTERM, previous_handler)
