"""Fake Hub on loopback: only the HTTP that huggingface_hub needs to push and pull a prompt, and faults on request.

Repositories are in memory, with a dictionary of files for every commit. Each token belongs to an account, which may
write the repositories under its own name.
"""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from huggingface_hub import constants, hf_api

TOKEN = "hf_not_for_anybodys_eyes"


@dataclass
class Repository:
    """Repository: its commits in order, each with all its files."""

    private: bool = False
    commits: list[dict[str, bytes]] = field(default_factory=lambda: [{".gitattributes": b""}])
    messages: list[str] = field(default_factory=lambda: ["initial commit"])
    gated: bool = False

    @property
    def files(self) -> dict[str, bytes]:
        return self.commits[-1]

    def sha(self, number: int = -1) -> str:
        number = number % len(self.commits)
        return hashlib.sha1(f"{number} {sorted(self.commits[number].items())}".encode()).hexdigest()

    def at(self, revision: str) -> dict[str, bytes] | None:
        """Return the files of a revision, or None."""
        known = {self.sha(number): files for number, files in enumerate(self.commits)} | {"main": self.files}
        return known.get(revision)


@dataclass
class FakeHub:
    """Fake Hub: its repositories, accounts and faults, and the requests that it received.

    Attributes:
        url: URL of the Hub.
        repositories: repositories by name.
        accounts: names of accounts by token.
        requests: method and path of every request so far.
        faults: faults by the first characters of `METHOD path`: a status, or a function that changes the body.
        objects: uploaded large files by SHA-256.
    """

    url: str = ""
    repositories: dict[str, Repository] = field(default_factory=dict)
    accounts: dict[str, str] = field(default_factory=lambda: {TOKEN: "acme"})
    requests: list[str] = field(default_factory=list)
    faults: dict[str, int | Callable[[bytes], bytes]] = field(default_factory=dict)
    objects: dict[str, bytes] = field(default_factory=dict)

    def fault(self, request: str) -> int | Callable[[bytes], bytes] | None:
        return next((fault for start, fault in self.faults.items() if request.startswith(start)), None)

    def count(self, start: str) -> int:
        """Count the requests whose `METHOD path` begins with `start`."""
        return sum(request.startswith(start) for request in self.requests)


def is_large(name: str) -> bool:
    return name.endswith(".safetensors")


class Handler(BaseHTTPRequestHandler):
    """Handler of one request, whose path selects the route."""

    hub: FakeHub
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self.answer()

    def do_GET(self) -> None:
        self.answer()

    def do_POST(self) -> None:
        self.answer()

    def do_PUT(self) -> None:
        self.answer()

    def log_message(self, *_: object) -> None: ...

    def answer(self) -> None:
        self.body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path = urlsplit(self.path).path
        self.hub.requests.append(f"{self.command} {path}")
        fault = self.hub.fault(self.hub.requests[-1])
        if isinstance(fault, int):
            return self.refuse(fault, message="as the test wants it")
        if not self.known():
            return self.refuse(401, message="Invalid credentials in Authorization header")
        match path.strip("/").split("/"):
            case ["api", "repos", "create"]:
                return self.create()
            case ["api", "validate-yaml"]:
                return self.send({"warnings": [], "errors": []})
            case ["lfs", oid]:
                self.hub.objects[oid] = self.body
                return self.send({})
            case ["api", "models", name]:
                return self.of_repository(name, [])
            case ["api", "models", owner, name, *rest]:
                return self.of_repository(f"{owner}/{name}", rest)
            case [owner, name, "info", "lfs", "objects", "batch"]:
                return self.batch()
            case [owner, name, "resolve", revision, file]:
                return self.download(f"{owner}/{name}", revision, file)
        return self.refuse(404)

    @property
    def account(self) -> str | None:
        return self.hub.accounts.get(self.headers.get("Authorization", "").removeprefix("Bearer "))

    def known(self) -> bool:
        return "Authorization" not in self.headers or self.account is not None

    def may_write(self, repository: str) -> bool:
        return repository.partition("/")[0] == self.account

    def visible(self, name: str) -> Repository | None:
        repository = self.hub.repositories.get(name)
        return repository if repository and (not repository.private or self.may_write(name)) else None

    def create(self) -> None:
        body = json.loads(self.body)
        name = f"{body['organization']}/{body['name']}"
        if not self.may_write(name):
            return self.refuse(403, message=f"You don't have the rights to create a model under {body['organization']}")
        self.hub.repositories[name] = Repository(private=body.get("visibility") == "private")
        return self.send({"url": f"{self.hub.url}/{name}"})

    def of_repository(self, name: str, rest: list[str]) -> None:
        repository = self.visible(name)
        if repository is None:
            return self.refuse(404 if self.account else 401, "RepoNotFound", "Repository not found")
        revision = rest[1] if len(rest) > 1 else "main"
        files = repository.at(revision)
        if files is None:
            return self.refuse(404, "RevisionNotFound")
        match rest[:1]:
            case [] | ["revision"]:
                sha = repository.sha() if revision == "main" else revision
                siblings = [{"rfilename": file} for file in files]
                return self.send({"id": name, "sha": sha, "private": repository.private, "siblings": siblings})
            case ["tree"]:
                return self.send([self.entry(file, content) for file, content in files.items()])
            case ["preupload"]:
                return self.preupload(files)
            case ["commit"]:
                return self.commit(name, repository)
        return self.refuse(404)

    def entry(self, name: str, content: bytes) -> dict[str, Any]:
        large = {"oid": sha256(content), "size": len(content), "pointerSize": 130}
        plain = {"type": "file", "path": name, "size": len(content), "oid": blob(content)}
        return plain | ({"lfs": large} if is_large(name) else {})

    def preupload(self, files: dict[str, bytes]) -> None:
        def make_entry(name: str) -> dict[str, Any]:
            oid = (sha256 if is_large(name) else blob)(files[name]) if name in files else None
            mode = "lfs" if is_large(name) else "regular"
            return {"path": name, "uploadMode": mode, "shouldIgnore": False, "oid": oid}

        return self.send({"files": [make_entry(file["path"]) for file in json.loads(self.body)["files"]]})

    def batch(self) -> None:
        objects = [
            {**pointer, "actions": {"upload": {"href": f"{self.hub.url}/lfs/{pointer['oid']}"}}}
            for pointer in json.loads(self.body)["objects"]
        ]
        return self.send({"transfer": "basic", "objects": objects})

    def commit(self, name: str, repository: Repository) -> None:
        if not self.may_write(name):
            return self.refuse(403, message="You don't have the rights to write here")
        header, *changes = (json.loads(line) for line in self.body.splitlines())
        if header["value"].get("parentCommit") not in (None, repository.sha()):
            return self.refuse(412, message="A commit has happened since")
        files = dict(repository.files)
        for change in changes:
            value = change["value"]
            match change["key"]:
                case "file":
                    files[value["path"]] = base64.b64decode(value["content"])
                case "lfsFile":
                    files[value["path"]] = self.hub.objects[value["oid"]]
                case "deletedFile":
                    del files[value["path"]]
        repository.commits.append(files)
        repository.messages.append(header["value"]["summary"])
        return self.send(
            {"commitUrl": f"{self.hub.url}/{name}/commit/{repository.sha()}", "commitOid": repository.sha()}
        )

    def download(self, name: str, revision: str, file: str) -> None:
        repository = self.visible(name)
        if repository is None:
            return self.refuse(404 if self.account else 401, "RepoNotFound")
        if repository.gated:
            return self.refuse(403, "GatedRepo")
        files = repository.at(revision) or {}
        if file not in files:
            return self.refuse(404, "EntryNotFound")
        content = files[file]
        fault = self.hub.fault(f"{self.command} {urlsplit(self.path).path}")
        sent = fault(content) if callable(fault) else content
        sha = repository.sha() if revision == "main" else revision
        headers = {"X-Repo-Commit": sha, "ETag": f'"{(sha256 if is_large(file) else blob)(content)}"'}
        return self.send(sent, headers, declared=len(content))

    def refuse(self, status: int, code: str = "", message: str = "") -> None:
        self.send(b"", {"X-Error-Code": code, "X-Error-Message": message}, status=status)

    def send(
        self, content: Any, headers: dict[str, str] | None = None, status: int = 200, declared: int | None = None
    ) -> None:
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in {"Content-Length": str(declared or len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            with suppress(BrokenPipeError):  # the client may have been killed
                self.wfile.write(body)
        if declared and declared != len(body):
            self.close_connection = True


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def blob(content: bytes) -> str:
    """Compute git's hash of a file's content."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


@contextmanager
def serving() -> Iterator[FakeHub]:
    """Run an empty fake Hub inside the `with` block."""
    hub = FakeHub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Handler,), {"hub": hub}))
    server.daemon_threads = True
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def connect(url: str, patch: pytest.MonkeyPatch, home: Path) -> None:
    """Connect huggingface_hub in this process to a URL; it read its environment when it was imported."""
    template = url + "/{repo_id}/resolve/{revision}/{filename}"
    values = {"HF_HUB_OFFLINE": False, "HF_HUB_DISABLE_XET": True, "HF_HUB_DISABLE_TELEMETRY": True}
    values |= {"ENDPOINT": url, "HUGGINGFACE_CO_URL_TEMPLATE": template}
    values |= {"HF_HUB_CACHE": str(home / "hub"), "HF_TOKEN_PATH": str(home / "token")}
    for name, value in values.items():
        patch.setattr(constants, name, value)
    patch.setattr(hf_api.api, "endpoint", url)  # peft and transformers use this object
    patch.setenv("HF_TOKEN", TOKEN)


@contextmanager
def connected(patch: pytest.MonkeyPatch, home: Path) -> Iterator[FakeHub]:
    """Run an empty fake Hub inside the `with` block, and connect huggingface_hub in this process to it."""
    with serving() as hub:
        connect(hub.url, patch, home)
        yield hub


def environment(hub: FakeHub, home: Path) -> dict[str, str]:
    """Return the environment variables that connect huggingface_hub in another process to the Hub."""
    return {
        "HF_HUB_OFFLINE": "0",
        "HF_ENDPOINT": hub.url,
        "HF_HOME": str(home),
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_TOKEN": TOKEN,
    }
