"""The server process: the socket, uvicorn, and signal handling."""

from __future__ import annotations

import errno
import logging
import socket
from types import FrameType

import uvicorn

from softprompt.errors import SettingError
from softprompt.server.app import create_app
from softprompt.server.app_state import AppState
from softprompt.server.runtime.connection_limit import ensure_connection_limit
from softprompt.server.runtime.log_rate_limit_filter import install_log_filters
from softprompt.server.runtime.timeout_http_protocol import TimeoutHttpProtocol
from softprompt.server.server_config import ServerConfig

logger = logging.getLogger(__name__)

LISTEN_BACKLOG = 2048  # connections that the kernel queues until they are accepted
ACCEPT_BATCH_SIZE = 16  # connections per accept call; bounds how far the number of connections exceeds its limit


def bind_socket(config: ServerConfig) -> socket.socket:
    """Bind a socket to the configured address, before the model is loaded.

    Raises:
        SettingError: the address is in use or cannot be bound.
    """
    host, port = config.host, config.port
    try:
        return _open_socket(host, port)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise SettingError(
                f"port {port} of {host} is in use: stop the other process, or choose another `port`"
            ) from error
        raise SettingError(f"cannot listen on port {port} of {host}: {error.strerror}") from error


def _open_socket(host: str, port: int) -> socket.socket:
    family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
    # asyncio disables Nagle's algorithm only if the protocol is given; the algorithm delays responses by 40 ms.
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
        listening.listen(LISTEN_BACKLOG)
    except OSError:
        listening.close()
        raise
    return listening


class ApiServer(uvicorn.Server):
    """A server that on a signal rejects new requests and finishes the running ones.

    Args:
        state: components of the server.
    """

    def __init__(self, state: AppState):
        config = uvicorn.Config(
            create_app(state),
            http=TimeoutHttpProtocol,
            ws="none",
            lifespan="on",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,  # clients are identified by API keys, never by forwarded addresses
            limit_concurrency=ensure_connection_limit(),
            backlog=ACCEPT_BATCH_SIZE,
            timeout_graceful_shutdown=max(1, round(state.config.shutdown_timeout)),
        )
        super().__init__(config)
        self._state = state
        install_log_filters()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start to serve, and restore the listen backlog that uvicorn sets to the accept batch size."""
        await super().startup(sockets)
        for listening in sockets or []:
            listening.listen(LISTEN_BACKLOG)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002
        """Handle a signal: the first one drains the server, a second one stops it at once.

        Unlike uvicorn, the signal is not raised again at the end: a drained server has exited successfully.
        """
        self.drain()
        self.force_exit, self.should_exit = self.should_exit, True

    def drain(self) -> None:
        """Reject new requests from now on."""
        self._state.backend.drain()
