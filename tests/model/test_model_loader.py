"""Loading by path, by Hub id from a fake Hub on loopback, and errors."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch
from transformers import AutoConfig, ViTConfig

from softprompt.errors import HubUnreachable, ModelNotFound, ModelNotSupported, SettingError
from softprompt.model import load_model
from softprompt.model.family import resolve_family
from tests.tiny import shared_model


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a tiny model."""
    path = tmp_path_factory.mktemp("models") / "tiny"
    shared_model("llama").network.save_pretrained(path)
    shared_model("llama").tokenizer.save_pretrained(path)
    return path


def test_a_model_loads_from_a_folder(folder: Path) -> None:
    model = load_model(str(folder))
    assert model.name == str(folder)
    assert model.fingerprint == shared_model("llama").fingerprint
    assert model.prompt_tokenizer.bos_token_id == shared_model("llama").prompt_tokenizer.bos_token_id
    ids = torch.tensor([[5, 9, 77]])
    mask = torch.ones_like(ids, dtype=torch.bool)
    assert torch.equal(model.compute_hidden_states(ids, mask), shared_model("llama").compute_hidden_states(ids, mask))


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_the_fingerprint_is_the_same_in_every_precision(folder: Path, dtype: str) -> None:
    model = load_model(str(folder), dtype=dtype)
    assert model.dtype is getattr(torch, dtype)
    assert model.fingerprint == shared_model("llama").fingerprint


@pytest.mark.parametrize("missing", ["./nowhere", "/nowhere/at/all"])
def test_a_missing_folder_raises_model_not_found(missing: str) -> None:
    with pytest.raises(ModelNotFound, match="no folder"):
        load_model(missing)


def test_a_folder_without_a_model_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFound, match="cannot be loaded"):
        load_model(str(tmp_path))


def test_loading_a_hub_id_offline_raises_hub_unreachable() -> None:
    with pytest.raises(HubUnreachable, match="is not in the cache and the Hub cannot be reached"):
        load_model("somebody/some-model")


def test_an_invalid_model_name_raises_model_not_found() -> None:
    with pytest.raises(ModelNotFound, match="not a bundled model"):
        load_model("no such model!")


@pytest.mark.parametrize(("device", "dtype"), [("abacus", "auto"), ("cuda:99", "auto"), ("cpu", "float13")])
def test_unknown_devices_and_dtypes_are_rejected(folder: Path, device: str, dtype: str) -> None:
    with pytest.raises(SettingError):
        load_model(str(folder), device=device, dtype=dtype)


def test_an_unsupported_family_is_rejected_before_its_weights_are_read(tmp_path: Path) -> None:
    ViTConfig().save_pretrained(tmp_path)
    with pytest.raises(ModelNotSupported, match=r"type 'vit' are not supported: its answers are not proven.*llama"):
        load_model(str(tmp_path))


@pytest.mark.parametrize(("kind", "reason"), [("mamba", "recurrent"), ("deepseek_v3", "MLA"), ("gemma3", "images")])
def test_unsupported_families_are_rejected_with_the_reason(kind: str, reason: str) -> None:
    with pytest.raises(ModelNotSupported, match=reason):
        resolve_family(AutoConfig.for_model(kind))


class Hub(BaseHTTPRequestHandler):
    """Fake Hub with one repository, `tiny/llama`, and only the requests of a download."""

    folder: Path

    def do_HEAD(self) -> None:
        self.answer(body=False)

    def do_GET(self) -> None:
        self.answer(body=True)

    def answer(self, body: bool) -> None:
        info = {"id": "tiny/llama", "sha": "f" * 40, "siblings": [{"rfilename": p.name} for p in self.folder.iterdir()]}
        if self.path.startswith("/api/models/tiny/llama"):
            tree = [
                {"type": "file", "path": p.name, "size": p.stat().st_size, "oid": "0" * 40}
                for p in self.folder.iterdir()
            ]
            return self.send(json.dumps(tree if "/tree/" in self.path else info).encode(), "application/json", body)
        path = self.folder / self.path.rpartition("/")[2]
        if self.path.startswith("/tiny/llama/resolve/") and path.is_file():
            return self.send(path.read_bytes(), "application/octet-stream", body)
        self.send_response(404)
        self.send_header("X-Error-Code", "EntryNotFound" if self.path.startswith("/tiny/llama/") else "RepoNotFound")
        self.send_header("Content-Length", "0")
        self.end_headers()
        return None

    def send(self, content: bytes, kind: str, body: bool) -> None:
        self.send_response(200)
        for name, value in {
            "Content-Type": kind,
            "Content-Length": str(len(content)),
            "ETag": f'"{hash(content)}"',
            "X-Repo-Commit": "f" * 40,
        }.items():
            self.send_header(name, value)
        self.end_headers()
        if body:
            self.wfile.write(content)

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def hub(folder: Path) -> Iterator[str]:
    """URL of a fake Hub on loopback."""
    Hub.folder = folder
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


LOAD = "from softprompt.model import load_model; print(load_model({!r}).fingerprint)"


def load_in_a_process(name: str, endpoint: str, home: Path) -> subprocess.CompletedProcess[str]:
    """Load in another process, since huggingface_hub reads its environment when it is imported."""
    environment = {
        **os.environ,
        "HF_HUB_OFFLINE": "0",
        "HF_ENDPOINT": endpoint,
        "HF_HOME": str(home),
        "HF_HUB_DISABLE_XET": "1",
    }
    return subprocess.run(
        [sys.executable, "-c", LOAD.format(name)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_a_hub_id_is_downloaded_once_and_then_needs_no_network(hub: str, tmp_path: Path) -> None:
    first = load_in_a_process("tiny/llama", hub, tmp_path)
    assert first.stdout.strip() == shared_model("llama").fingerprint, first.stderr
    nobody = "http://127.0.0.1:9"
    again = load_in_a_process("tiny/llama", nobody, tmp_path)
    assert again.stdout.strip() == shared_model("llama").fingerprint, again.stderr


def test_a_hub_id_missing_on_the_hub_raises_model_not_found(hub: str, tmp_path: Path) -> None:
    found = load_in_a_process("tiny/nothing", hub, tmp_path)
    assert "ModelNotFound" in found.stderr
    assert "not on the Hub" in found.stderr


def test_an_unreachable_hub_raises_hub_unreachable(tmp_path: Path) -> None:
    found = load_in_a_process("tiny/llama", "http://127.0.0.1:9", tmp_path)
    assert "HubUnreachable" in found.stderr
