"""An OpenAI-compatible API on loopback that speaks as much HTTP as the openai package needs, and can misbehave."""

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
    """What comes instead of an answer.

    Attributes:
        status: of the response.
        body: its text, or an object as JSON.
        headers: beside the usual ones. By default the client is to come back soon.
    """

    status: int
    body: Any = ""
    headers: dict[str, str] = field(default_factory=lambda: {"retry-after-ms": "1"})


@dataclass
class FakeApi:
    """What the model says, who may ask, and what is to go wrong.

    Attributes:
        reply: what is said to messages.
        keys: those that are known; None: nobody is asked for one.
        usage: tokens read and written, in every answer; None: not told.
        faults: what comes instead of the next answers, one after the other.
        always: what comes instead of every answer.
        delay: seconds before an answer.
        requests: the bodies of all requests so far.
        headers: theirs.
        most_at_once: how many requests were in progress together.
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
    def under_way(self, asked: dict[str, Any], headers: dict[str, str]) -> Iterator[Fault | None]:
        """One more request, and what is to go wrong with it."""
        with self.lock:
            self.requests.append(asked)
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

    def completion(self, asked: dict[str, Any]) -> dict[str, Any]:
        message = {"role": "assistant", "content": self.reply(asked["messages"])}
        told = self.usage and {"prompt_tokens": self.usage[0], "completion_tokens": self.usage[1]}
        return {
            "id": "chatcmpl-1",
            "object": "chat.completion",
            "created": 1,
            "model": asked["model"],
            "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
            **({"usage": {**told, "total_tokens": sum(told.values())}} if told else {}),
        }

    @property
    def users_words(self) -> list[str]:
        """What the last message of each request says."""
        return [request["messages"][-1]["content"] for request in self.requests]


class Handler(BaseHTTPRequestHandler):
    """One request."""

    api: FakeApi
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with self.api.under_way(asked, {name.lower(): value for name, value in self.headers.items()}) as fault:
            self.send(fault or self.answer(asked))

    def answer(self, asked: dict[str, Any]) -> Fault:
        key = self.headers.get("Authorization", "").removeprefix("Bearer ")
        if self.path != "/v1/chat/completions":
            return Fault(404, {"error": {"message": f"Unknown path {self.path}"}})
        if self.api.keys is not None and key not in self.api.keys:
            return Fault(401, {"error": {"message": f"Incorrect API key provided: {key}"}})
        return Fault(200, self.api.completion(asked), {})

    def log_message(self, *_: object) -> None: ...

    def send(self, what: Fault) -> None:
        body = what.body.encode() if isinstance(what.body, str) else json.dumps(what.body).encode()
        with suppress(ConnectionError):  # of a client that waits no longer
            self.send_response(what.status)
            for name, value in {"Content-Type": "application/json", **what.headers}.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)


@contextmanager
def serving() -> Iterator[FakeApi]:
    """An API that says "good" to everything, until the end of the block."""
    api = FakeApi()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Handler,), {"api": api}))
    server.daemon_threads = True
    server.handle_error = lambda *_: None  # type: ignore[method-assign]  # connections that a client cut
    api.url = f"http://127.0.0.1:{server.server_port}/v1"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield api
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
