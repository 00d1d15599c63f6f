"""Fake OpenAI-compatible API on loopback: only the HTTP that the openai package needs, and faults on request."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

KEY = "sk-not-for-anybodys-eyes"
Messages = list[dict[str, str]]


@dataclass(frozen=True)
class Fault:
    """Response that replaces the regular one.

    Attributes:
        status: HTTP status of the response.
        body: text of the response, or an object that is sent as JSON.
        headers: additional headers. By default they let the client retry after a millisecond.
    """

    status: int
    body: Any = ""
    headers: dict[str, str] = field(default_factory=lambda: {"retry-after-ms": "1"})


@dataclass
class FakeApi:
    """Fake API: its replies, valid keys and faults, and the requests that it received.

    Attributes:
        url: base URL.
        reply: function from the messages of a request to the reply.
        keys: valid API keys; None to require no key.
        usage: prompt and completion tokens in every response; None to report no usage.
        faults: responses that replace the next regular ones, in order.
        always: response that replaces every regular one.
        delay: seconds before a response.
        requests: bodies of all requests so far.
        headers: headers of all requests so far.
        at_once: number of requests in progress.
        most_at_once: maximum number of requests that were in progress at once.
    """

    url: str = ""
    reply: Callable[[Messages], str | None] = lambda messages: "good"
    keys: tuple[str, ...] | None = (KEY,)
    usage: tuple[int, int] | None = (10, 2)
    faults: list[Fault] = field(default_factory=list)
    always: Fault | None = None
    delay: float = 0.0
    requests: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    at_once: int = 0
    most_at_once: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    @contextmanager
    def under_way(self, body: dict[str, Any], headers: dict[str, str]) -> Iterator[Fault | None]:
        """Count a request as in progress inside the `with` block, and yield its fault."""
        with self.lock:
            self.requests.append(body)
            self.headers.append(headers)
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
            fault = self.always or (self.faults.pop(0) if self.faults else None)
        try:
            time.sleep(self.delay)
            yield fault
        finally:
            with self.lock:
                self.at_once -= 1

    def completion(self, body: dict[str, Any]) -> dict[str, Any]:
        message = {"role": "assistant", "content": self.reply(body["messages"])}
        usage = self.usage and {"prompt_tokens": self.usage[0], "completion_tokens": self.usage[1]}
        return {
            "id": "chatcmpl-1",
            "object": "chat.completion",
            "created": 1,
            "model": body["model"],
            "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
            **({"usage": {**usage, "total_tokens": sum(usage.values())}} if usage else {}),
        }

    @property
    def users_words(self) -> list[str]:
        """Text of the last message of each request."""
        return [request["messages"][-1]["content"] for request in self.requests]


class Handler(BaseHTTPRequestHandler):
    """Handler of one request."""

    api: FakeApi
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with self.api.under_way(body, {name.lower(): value for name, value in self.headers.items()}) as fault:
            self.send(fault or self.answer(body))

    def answer(self, body: dict[str, Any]) -> Fault:
        key = self.headers.get("Authorization", "").removeprefix("Bearer ")
        if self.path != "/v1/chat/completions":
            return Fault(404, {"error": {"message": f"Unknown path {self.path}"}})
        if self.api.keys is not None and key not in self.api.keys:
            return Fault(401, {"error": {"message": f"Incorrect API key provided: {key}"}})
        return Fault(200, self.api.completion(body), {})

    def log_message(self, *_: object) -> None: ...

    def send(self, response: Fault) -> None:
        body = response.body.encode() if isinstance(response.body, str) else json.dumps(response.body).encode()
        with suppress(ConnectionError):  # the client may have timed out
            self.send_response(response.status)
            for name, value in {"Content-Type": "application/json", **response.headers}.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)


@contextmanager
def serving() -> Iterator[FakeApi]:
    """Run a fake API that replies "good" to every request, inside the `with` block."""
    api = FakeApi()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Handler,), {"api": api}))
    server.daemon_threads = True
    server.handle_error = lambda *_: None  # type: ignore[method-assign]  # a client may close its connection
    api.url = f"http://127.0.0.1:{server.server_port}/v1"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield api
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
