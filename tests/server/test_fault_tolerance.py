"""A full disk, corrupt files and clients that disconnect do not affect other requests.

`tests/cli/test_serve_command.py` tests a server that is killed.
"""

from __future__ import annotations

import asyncio
import errno
import gc
import itertools
import os
import random
import socket
import struct
import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from softprompt.engine.sequence import EngineSequence
from softprompt.model import FrozenModel
from softprompt.registry import PromptRegistry
from softprompt.server.generation.generation_group import GenerationGroup
from tests.registry.factories import check_whole, folder_of
from tests.server.live_server import ANSWERS, BASE, REVIEWS, Running, prompt_for, running, until

ASKED: dict[str, Any] = {"model": "answers", "prompt": "the film", "max_tokens": 4, "temperature": 0}


@pytest.fixture
def server(tmp_path: Path, chatting: FrozenModel) -> Iterator[Running]:
    """A server with two prompts, of a store that a test may harm."""
    with PromptRegistry.open(tmp_path / "store", create=True) as store:
        store.register_prompt(prompt_for(chatting, ANSWERS, 0), "answers")
        store.register_prompt(prompt_for(chatting, REVIEWS, 1), "reviews")
    with running(tmp_path / "store", chatting, max_num_seqs=2, max_waiting_requests=64) as server:
        yield server


def bring(server: Running, model: FrozenModel, seed: int, padding: int = 0) -> httpx2.Response:
    """Upload a prompt, with so many bytes more behind each of its files."""
    saved = prompt_for(model, ANSWERS, seed).files
    files = [("file", (name, content + b"\0" * padding)) for name, content in saved.items()]
    return httpx2.post(f"{server.url}/v1/prompts", data={"name": "new"}, files=files, timeout=60)


def error_of(answer: httpx2.Response) -> tuple[int, str | None]:
    error = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert "/" not in error["message"]  # no path of the machine's
    return answer.status_code, error["code"]


def full(call: Callable[..., Any], calls: itertools.count[int], n: int, where: str) -> Callable[..., Any]:
    """A function for which there is no space the n-th time that it is called by a thread of the server's."""

    def counted(*arguments: Any, **options: Any) -> Any:
        if threading.current_thread().name.startswith(where) and next(calls) == n:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return call(*arguments, **options)

    return counted


def test_a_full_disk_rejects_an_upload_and_affects_no_other_request(
    server: Running, chatting: FrozenModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = server.post("/v1/completions", ASKED).json()["choices"]
    for n in itertools.count():
        with monkeypatch.context() as patch:
            calls = itertools.count()
            for name in ("mkdir", "fsync", "replace", "rename"):
                patch.setattr(os, name, full(getattr(os, name), calls, n, "AnyIO"))
            answer = bring(server, chatting, 7)
        assert server.post("/v1/completions", ASKED).json()["choices"] == expected
        check_whole(server.store)
        if answer.status_code == 201:
            break
        assert error_of(answer) == (507, "no_space")
        assert [prompt.name for prompt in server.store.list_prompts()] == ["answers", "reviews"]
    assert n > 4


def test_missing_disk_space_for_an_upload_returns_507(
    server: Running, chatting: FrozenModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_space(*_: Any, **__: Any) -> Any:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(tempfile, "TemporaryFile", no_space)  # to which a larger body goes
        assert error_of(bring(server, chatting, 7, padding=2**21)) == (507, "no_space")
    assert bring(server, chatting, 7).status_code == 201


def numbers(folder: Path) -> Path:
    [file] = folder.glob("*.safetensors")
    return file


def flipped(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[-3] ^= 1
    file.write_bytes(content)


def in_its_place(file: Path) -> None:
    file.unlink()
    file.mkdir()


HARMS: dict[str, Callable[[Path], object]] = {
    "a bit of its numbers": lambda folder: flipped(numbers(folder)),
    "its numbers cut": lambda folder: os.truncate(numbers(folder), 20),
    "no numbers": lambda folder: numbers(folder).unlink(),
    "a bit of its manifest": lambda folder: flipped(folder / "softprompt.json"),
    "no manifest": lambda folder: (folder / "softprompt.json").unlink(),
    "a manifest that is none": lambda folder: (folder / "softprompt.json").write_bytes(b'{"\xff'),
    "a folder in a file's place": lambda folder: in_its_place(numbers(folder)),
    "nothing": lambda folder: folder.rename(folder.with_name("gone")),
}


@pytest.mark.parametrize("harm", HARMS)
def test_a_corrupt_prompt_fails_only_its_own_requests(
    server: Running, chatting: FrozenModel, harm: str, caplog: pytest.LogCaptureFixture
) -> None:
    HARMS[harm](folder_of(server.store, server.store.resolve_version("reviews")))
    told = [
        server.post("/v1/classify", {"model": "reviews", "input": "the film"}),
        server.post("/v1/completions", {**ASKED, "model": "reviews@1"}),
        server.post("/v1/completions", {**ASKED, "model": "reviews", "stream": True}),
    ]
    assert [error_of(answer) for answer in told] == [(503, "prompt_corrupt")] * 3
    assert all(answer.headers["x-should-retry"] == "false" for answer in told)
    assert server.get("/playground/prompts/reviews").status_code in (200, 503)  # only the manifest is read there
    for model in ("answers", BASE):
        assert server.post("/v1/completions", {**ASKED, "model": model}).status_code == 200
    assert [model["id"] for model in server.get("/v1/models").json()["data"]] == [BASE, "answers", "reviews"]
    server.store.register_prompt(prompt_for(chatting, REVIEWS, 1), "reviews")
    assert server.post("/v1/classify", {"model": "reviews", "input": "the film"}).status_code == 200


def test_a_cached_prompt_is_served_without_its_files(server: Running) -> None:
    expected = server.post("/v1/completions", ASKED).json()["choices"]
    folder = folder_of(server.store, server.store.resolve_version("answers"))
    folder.rename(folder.with_name("gone"))
    assert server.post("/v1/completions", ASKED).json()["choices"] == expected


def test_an_unreadable_registry_returns_503(server: Running, caplog: pytest.LogCaptureFixture) -> None:
    database = Path(server.store.location) / "store.sqlite"
    server.store.close()  # what is open already would be read on
    kept = database.read_bytes()
    database.write_bytes(b"no database" * 1000)
    for answer in (server.get("/v1/models"), server.get("/v1/prompts"), server.post("/v1/completions", ASKED)):
        assert error_of(answer) == (503, "registry_unavailable")
    assert server.post("/v1/completions", {**ASKED, "model": BASE}).status_code == 200
    server.store.close()
    database.write_bytes(kept)
    assert server.post("/v1/completions", ASKED).status_code == 200


LONG = {**ASKED, "max_tokens": 100, "ignore_eos": True, "n": 3}  # more than there are slots


def vanish(server: Running, how: str, after: int) -> None:
    """A client that goes away: having read so many bytes of its answer, or having sent so many of its request."""
    host, port = server.url.removeprefix("http://").split(":")
    body = httpx2.Request("POST", server.url, json={**LONG, "stream": "stream" in how}).content
    head = f"POST /v1/completions HTTP/1.1\r\nhost: {host}:{port}\r\ncontent-type: application/json\r\n"
    sent = f"{head}content-length: {len(body)}\r\n\r\n".encode() + body
    with socket.create_connection((host, int(port)), timeout=60) as client:
        if "reset" in how:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.sendall(sent[: after % len(sent)] if "sending" in how else sent)
        if "stream" in how:
            client.recv(after)
        elif "waiting" in how:
            until(lambda: server.rows >= 1)


WAYS = ("in a stream", "in a stream, reset", "waiting", "waiting, reset", "sending", "sending, reset")


def open_files(server: Running) -> int:
    """What the process has open, but for the store: of its connections some are kept for the next who need one."""
    files = [os.path.realpath(each) for each in Path("/proc/self/fd").iterdir()]
    return sum(not file.startswith(server.store.location) for file in files)


POOLS = ("asyncio_", "AnyIO", "ThreadPool")  # threads that are kept for the next who need one, up to so many
KINDS = (EngineSequence, GenerationGroup, asyncio.Task)


def left(server: Running) -> Counter[str]:
    """All that a request takes, counted: what a vanished one has left would be found here."""
    worker = server.parts.backend.worker
    loop = worker._loop
    assert loop is not None
    gc.collect()
    kinds = Counter(type(each) for each in gc.get_objects() if type(each) in KINDS)
    return Counter(
        {
            "rows": server.rows + len(worker._handles) + len(worker.engine._active_requests),
            "positions": sum(worker.engine.kv_cache._resident_positions),
            "orders": len(worker._control_queue) + len(worker._job_queue) + len(worker._events),
            "connections": len(server.server.server_state.connections),
            "tasks": len(asyncio.all_tasks(loop)) + len(server.server.server_state.tasks),
            "files": open_files(server),
            "threads": sum(not thread.name.startswith(POOLS) for thread in threading.enumerate()),
            **{kind.__name__: count for kind, count in kinds.items()},
        }
    )


def test_clients_that_disconnect_leak_no_resources(server: Running) -> None:
    draw = random.Random(0)
    whole = server.post("/v1/completions", LONG).json()["choices"]
    asking = threading.Thread(target=lambda: [server.post("/v1/completions", ASKED) for _ in range(30)])

    def come_and_go(times: int) -> None:
        threads = [
            threading.Thread(target=vanish, args=(server, draw.choice(WAYS), draw.randrange(1, 400)))
            for _ in range(times)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)

    come_and_go(12)  # whatever is made once is made now
    until(lambda: not server.rows and not server.server.server_state.connections)
    before = left(server)
    asking.start()
    for _ in range(8):
        come_and_go(12)
    asking.join(60)
    until(lambda: not left(server) - before, told=lambda: str(left(server) - before))
    assert server.post("/v1/completions", LONG).json()["choices"] == whole
