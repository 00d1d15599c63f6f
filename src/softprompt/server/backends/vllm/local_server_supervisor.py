"""Starts the gateway's own vLLM server again after it has exited."""

from __future__ import annotations

import logging
import time
from threading import Event, Thread
from types import TracebackType
from typing import Protocol, runtime_checkable

logger = logging.getLogger("softprompt.server")

POLL_INTERVAL_S = 0.5
FIRST_WAIT_S, MAX_WAIT_S = 1.0, 60.0  # before a restart; doubled at each, if the server does not last
STABLE_AFTER_S = 300.0  # a server that has run for so long is restarted after the first wait again


@runtime_checkable
class RestartableServer(Protocol):
    """A server that can be started again at the same URL."""

    @property
    def is_running(self) -> bool:
        """Whether its process runs."""
        ...

    def start(self) -> None:
        """Start a process that has exited again."""
        ...

    def describe_exit(self) -> str:
        """Describe how the process ended."""
        ...


class LocalServerSupervisor:
    """Thread that restarts a server, with growing waits, until it is stopped.

    Requests meanwhile get the error for a gateway without a healthy replica, which says when to try again.

    Args:
        server: the server, which was started.
        first_wait_s: seconds before the first restart.
    """

    def __init__(self, server: RestartableServer, first_wait_s: float = FIRST_WAIT_S):
        self._server, self._first_wait_s, self._stopped = server, first_wait_s, Event()
        self._thread = Thread(target=self._run, name="vllm-supervisor", daemon=True)

    @property
    def is_alive(self) -> bool:
        """Whether the server will be restarted if it exits."""
        return self._thread.is_alive()

    def __enter__(self) -> LocalServerSupervisor:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stopped.set()
        self._thread.join()

    def _run(self) -> None:
        wait_s, started = self._first_wait_s, time.monotonic()
        while not self._stopped.wait(min(POLL_INTERVAL_S, wait_s)):
            if self._server.is_running:
                continue
            if time.monotonic() - started > STABLE_AFTER_S:
                wait_s = self._first_wait_s
            logger.error("%s; starting it again in %.0f s", self._server.describe_exit(), wait_s)
            if self._stopped.wait(wait_s):
                return
            wait_s, started = min(2 * wait_s, MAX_WAIT_S), time.monotonic()
            try:
                self._server.start()
            except OSError as error:  # no memory for a process, or the program was removed
                logger.error("vLLM cannot be started: %s", error)
