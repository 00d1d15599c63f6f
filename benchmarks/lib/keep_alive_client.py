"""A client with one keep-alive connection and little work of its own, so that it measures the server."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit


class KeepAliveClient:
    """Sends one request after the other.

    Args:
        url: URL of the server.
        api_key: API key; None for none.
    """

    def __init__(self, url: str, api_key: str | None = None):
        self._connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=120)
        self._headers = {"content-type": "application/json"}
        if api_key is not None:
            self._headers["authorization"] = f"Bearer {api_key}"

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def get_path(self, path: str) -> float:
        """Return the seconds until the response."""
        return self._request_with_retry("GET", path, None, is_stream=False)

    def post_json(self, path: str, body: Mapping[str, Any]) -> float:
        """Return the seconds until the response, or of a stream until its first event with a token."""
        return self._request_with_retry("POST", path, json.dumps(body), is_stream=bool(body.get("stream")))

    def _request_with_retry(self, method: str, path: str, body: str | None, *, is_stream: bool) -> float:
        try:
            return self._time_request(method, path, body, is_stream=is_stream)
        except ConnectionError:  # closed by the server after idling: repeat on a new connection
            self._connection.close()
            self._connection.connect()
            return self._time_request(method, path, body, is_stream=is_stream)

    def _time_request(self, method: str, path: str, body: str | None, *, is_stream: bool) -> float:
        began = time.perf_counter()
        self._connection.request(method, path, body, self._headers)
        answer = self._connection.getresponse()
        first = _read_first_token(answer) if is_stream else answer.read()
        took = time.perf_counter() - began
        if answer.status != http.client.OK:
            raise SystemExit(f"{method} {path}: {answer.status} {first!r}")
        answer.read()
        return took


def _read_first_token(answer: http.client.HTTPResponse) -> bytes:
    """Read the first line of a stream that has a token, or all of an error."""
    while line := answer.readline():
        if line.startswith(b"data:") and json.loads(line.removeprefix(b"data:"))["choices"]:
            return line
    return b"no event came"
