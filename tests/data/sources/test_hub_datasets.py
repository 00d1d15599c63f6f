"""Datasets of a fake Hub: downloads, the cache, and errors without a network."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from softprompt.data.sources.hub_datasets import HubDatasetRef
from softprompt.errors import SettingError

NOBODY = "http://127.0.0.1:9"
COMMIT = "f" * 40
CARD = """---
dataset_info:
  features:
  - name: text
    dtype: string
  - name: label
    dtype:
      class_label:
        names:
          '0': bad
          '1': good
---
"""
FILES = {
    "README.md": CARD,
    "train.jsonl": "".join(json.dumps({"text": f"text {i}", "label": i % 2}) + "\n" for i in range(20)),
    "validation.jsonl": '{"text": "held out", "label": 1}\n',
}


class Hub(BaseHTTPRequestHandler):
    """Fake Hub with the dataset `tiny/reviews`."""

    def do_HEAD(self) -> None:
        self.answer(body=False)

    def do_GET(self) -> None:
        self.answer(body=True)

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"]))).get("paths", [])
        self.send(json.dumps([entry(path) for path in asked if path in FILES]).encode())

    def answer(self, body: bool) -> None:
        path = self.path.partition("?")[0]
        if path.startswith("/api/datasets/tiny/reviews"):
            files = [entry(name) for name in FILES]
            info = {"id": "tiny/reviews", "sha": COMMIT, "siblings": [{"rfilename": name} for name in FILES]}
            self.send(json.dumps(files if "/tree/" in path else info).encode(), body)
        elif path.startswith("/datasets/tiny/reviews/resolve/") and path.rpartition("/")[2] in FILES:
            self.send(FILES[path.rpartition("/")[2]].encode(), body)
        else:
            self.send_response(404)
            self.send_header("X-Error-Code", "EntryNotFound" if "tiny/reviews" in path else "RepoNotFound")
            self.send_header("Content-Length", "0")
            self.end_headers()

    def send(self, content: bytes, body: bool = True) -> None:
        self.send_response(200)
        for name, value in {
            "Content-Type": "application/json",
            "Content-Length": str(len(content)),
            "ETag": f'"{len(content):040}"',
            "X-Repo-Commit": COMMIT,
        }.items():
            self.send_header(name, value)
        self.end_headers()
        if body:
            self.wfile.write(content)

    def log_message(self, *_: object) -> None: ...


def entry(path: str) -> dict[str, object]:
    return {"type": "file", "path": path, "size": len(FILES[path]), "oid": "0" * 40}


@pytest.fixture
def hub() -> Iterator[str]:
    """URL of a fake Hub on loopback."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


READ = """
from softprompt.data import read_examples
from softprompt.errors import SoftPromptError
try:
    found = read_examples({!r})
    print([[example.get_text("text"), example.get_text("label")] for example in found], found[0].location, found.digest)
except SoftPromptError as error:
    print(type(error).__name__, error)
"""


def read(source: str, endpoint: str, home: Path, **environment: str) -> str:
    """Read in another process, since huggingface_hub reads its environment when it is imported."""
    ran = subprocess.run(
        [sys.executable, "-c", READ.format(source)],
        env={
            **os.environ,
            "HF_HUB_OFFLINE": "0",
            "HF_ENDPOINT": endpoint,
            "HF_HOME": str(home),
            "HF_HUB_DISABLE_XET": "1",
            "HF_UPDATE_DOWNLOAD_COUNTS": "0",
            **environment,
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.strip()


def test_downloaded_dataset_is_read_without_network(hub: str, tmp_path: Path) -> None:
    first = read("hf:tiny/reviews[:3]", hub, tmp_path)
    assert first.startswith("[['text 0', 'bad'], ['text 1', 'good'], ['text 2', 'bad']] hf:tiny/reviews[:3], row 1")
    assert read("hf:tiny/reviews[:3]", NOBODY, tmp_path) == first
    assert read("hf:tiny/reviews[:3]", hub, tmp_path, HF_HUB_OFFLINE="1") == first
    assert "held out" in read("hf:tiny/reviews:validation", NOBODY, tmp_path)


def test_missing_dataset_or_split_is_reported(hub: str, tmp_path: Path) -> None:
    assert "DataError dataset 'tiny/nothing' not found: not on the Hub" in read("hf:tiny/nothing", hub, tmp_path)
    found = read("hf:tiny/reviews:dev", hub, tmp_path)
    assert found.startswith("DataError hf:tiny/reviews:dev cannot be read")
    assert "dev" in found


def test_missing_network_is_reported_at_once(tmp_path: Path) -> None:
    begun = time.perf_counter()
    found = read("hf:tiny/reviews[:1000]", NOBODY, tmp_path)
    assert found.startswith("HubUnreachable hf:tiny/reviews[:1000] is not in the cache and the Hub cannot be reached")
    assert time.perf_counter() - begun < 20


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("hf:yelp_review_full", HubDatasetRef("yelp_review_full")),
        ("hf:yelp_review_full[:1000]", HubDatasetRef("yelp_review_full", split_slice="[:1000]")),
        ("hf:Yelp/yelp_review_full:test", HubDatasetRef("Yelp/yelp_review_full", split="test")),
        ("hf:nyu-mll/glue#sst2", HubDatasetRef("nyu-mll/glue", "sst2")),
        ("hf:nyu-mll/glue#sst2:validation[10%:20%]", HubDatasetRef("nyu-mll/glue", "sst2", "validation", "[10%:20%]")),
        ("hf:a/b[-100:]", HubDatasetRef("a/b", split_slice="[-100:]")),
    ],
)
def test_hub_reference_is_parsed(text: str, expected: HubDatasetRef) -> None:
    assert HubDatasetRef.parse(text) == expected


@pytest.mark.parametrize(
    "text", ["hf:", "hf:a/b/c", "hf:a[1000]", "hf:a[:1000", "hf:a:", "hf:a#", "hf:a b", "hf:a[:x]"]
)
def test_invalid_hub_reference_is_rejected(text: str) -> None:
    with pytest.raises(SettingError, match="Use hf:NAME"):
        HubDatasetRef.parse(text)
