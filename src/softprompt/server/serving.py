"""The server as it runs: a socket, uvicorn, and what a signal does."""

from __future__ import annotations

import errno
import logging
import socket
from types import FrameType

import uvicorn

from softprompt.errors import SettingError
from softprompt.server.app import create_app
from softprompt.server.connection import Connection
from softprompt.server.descriptors import connection_limit
from softprompt.server.log_limits import limit_logs
from softprompt.server.parts import Parts
from softprompt.server.settings import ServerSettings

logger = logging.getLogger(__name__)

QUEUE = 2048  # connections that the system holds until they are accepted
ACCEPTED = 16  # that are accepted at a time: several times as many may be open before others are closed for them


def listen(settings: ServerSettings) -> socket.socket:
    """A socket at the address of the settings, before anything is loaded that takes long.

    Raises:
        SettingError: somebody else listens there, or nobody may.
    """
    host, port = settings.host, settings.port
    try:
        return _bound(host, port)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise SettingError(
                f"port {port} of {host} is in use: stop what listens there, or choose another `port`"
            ) from error
        raise SettingError(f"nothing can listen at port {port} of {host}: {error.strerror}") from error


def _bound(host: str, port: int) -> socket.socket:
    family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
    # asyncio turns Nagle's algorithm off only where the protocol is named; on, it holds answers back for 40 ms.
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
        listening.listen(QUEUE)
    except OSError:
        listening.close()
        raise
    return listening


class Server(uvicorn.Server):
    """Runs an application until it is told to stop; then it finishes what runs, and takes nothing new.

    Args:
        parts: of the server.
    """

    def __init__(self, parts: Parts):
        settings = parts.settings
        config = uvicorn.Config(
            create_app(parts),
            http=Connection,
            ws="none",
            lifespan="on",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,  # who asks is told by keys, and nobody's word for another's address is taken
            limit_concurrency=connection_limit(),
            backlog=ACCEPTED,
            timeout_graceful_shutdown=max(1, round(settings.grace)),
        )
        super().__init__(config)
        self._parts = parts
        limit_logs()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to serve. What uvicorn accepts at a time becomes the length of the system's queue, which is longer."""
        await super().startup(sockets)
        for listening in sockets or []:
            listening.listen(QUEUE)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002
        """A signal came: the first lets what runs end, a second one does not wait for it.

        uvicorn would raise it once more in the end; a server that was stopped and has finished did what it was told.
        """
        self.drain()
        self.force_exit, self.should_exit = self.should_exit, True

    def drain(self) -> None:
        """Take nothing new from now on."""
        self._parts.backend.drain()
