"""Log lines that clients can cause are limited per interval."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import socket
from collections.abc import Iterator

import pytest

from softprompt.server.runtime.log_rate_limit_filter import (
    ACCEPT_ERROR_MESSAGE,
    LIMITED_LOGGERS,
    LogRateLimitFilter,
    install_log_filters,
)
from tests.server.concurrency.test_tenant_rate_limiter import Clock


@pytest.fixture
def shown() -> Iterator[list[str]]:
    """What is shown of lines behind the limits."""
    lines = list[str]()

    class Kept(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(record.getMessage().partition("\n")[0])

    handler, loggers = Kept(), [logging.getLogger(name) for name in LIMITED_LOGGERS]
    before = [list(logger.filters) for logger in loggers]
    for logger in loggers:
        logger.filters.clear()
        logger.addHandler(handler)
    install_log_filters()
    install_log_filters()
    yield lines
    for logger, filters in zip(loggers, before, strict=True):
        logger.removeHandler(handler)
        logger.filters[:] = filters


def test_equal_lines_are_shown_once_per_interval_with_a_count() -> None:
    clock = Clock()
    limit = LogRateLimitFilter(60.0, clock)

    def line(text: str) -> str | None:
        record = logging.LogRecord("uvicorn.error", logging.WARNING, "", 0, text, (), None)
        return record.getMessage() if limit.filter(record) else None

    assert [line("Invalid"), line("Invalid"), line("Invalid"), line("other")] == ["Invalid", None, None, "other"]
    clock.now += 61
    assert [line("Invalid"), line("Invalid")] == ["Invalid (2 similar lines were suppressed)", None]


def test_clients_cannot_fill_the_log(shown: list[str]) -> None:
    for _ in range(1000):
        logging.getLogger("uvicorn.error").warning("Invalid HTTP request received.")
    assert shown == ["Invalid HTTP request received."]


def test_tracebacks_are_always_shown(shown: list[str]) -> None:
    for i in range(3):
        try:
            raise RuntimeError(str(i))
        except RuntimeError as error:
            logging.getLogger("uvicorn.error").error("Exception in ASGI application\n", exc_info=error)
    assert len(shown) == 3


def test_exhausted_descriptors_are_logged_once(shown: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Asyncio logs a traceback for each connection that it cannot accept."""

    async def serve_without_descriptors() -> None:
        loop = asyncio.get_running_loop()
        with socket.create_server(("127.0.0.1", 0)) as listening:
            listening.setblocking(False)
            accepting = await loop.create_server(asyncio.Protocol, sock=listening, backlog=50)

            def accept(_: socket.socket) -> None:
                raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

            with monkeypatch.context() as patch:
                patch.setattr(socket.socket, "accept", accept)
                loop._accept_connection(asyncio.Protocol, listening, backlog=50)  # type: ignore[attr-defined]
            accepting.close()

    asyncio.run(serve_without_descriptors())
    assert shown == [ACCEPT_ERROR_MESSAGE]
