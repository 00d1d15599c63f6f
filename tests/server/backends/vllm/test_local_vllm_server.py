"""Start, arguments and end of a local vLLM server, with a fake vLLM program."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import psutil
import pytest

from softprompt.errors import SettingError
from softprompt.server.backends.vllm.local_vllm_server import (
    LocalVllmServer,
    build_arguments,
    find_interpreter,
    to_vllm_dtype,
)
from tests.ports import free_port
from tests.server.live_server import until

SERVING = """
import http.server, subprocess, sys
child = subprocess.Popen(["sleep", "600"])
print("began", child.pid, *sys.argv[1:], flush=True)
class Health(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if self.path == "/health" else 404)
        self.end_headers()
http.server.HTTPServer(("127.0.0.1", int(sys.argv[sys.argv.index("--port") + 1])), Health).serve_forever()
"""


def program(folder: Path, text: str, name: str = "python") -> str:
    """A program of this text, by the name of the Python that runs vLLM."""
    file = folder / name
    file.write_text(f"#!{sys.executable} -S\n{text}")
    file.chmod(0o755)
    return str(file)


def test_a_local_server_starts_and_stops_with_its_child_processes(tmp_path: Path) -> None:
    port = free_port()
    words = build_arguments(
        "base",
        "store/prompts",
        max_model_len=65,
        max_num_seqs=4,
        max_num_batched_tokens=256,
        dtype="float32",
        port=port,
    )
    with LocalVllmServer(program(tmp_path, SERVING), words, port) as replica:
        replica.wait_until_ready()
        assert replica.is_running
        began, child, *said = replica.log_file.read_text().split(maxsplit=2)
        assert began == "began"
        assert "--model base --host 127.0.0.1" in said[0]
        assert psutil.pid_exists(int(child))
    assert not replica.is_running
    assert not replica.log_file.parent.exists()
    until(lambda: not psutil.pid_exists(int(child)) or psutil.Process(int(child)).status() == psutil.STATUS_ZOMBIE)


def test_a_failed_start_raises_an_error_with_the_log(tmp_path: Path) -> None:
    failing = program(tmp_path, "import sys; print('no room for the model'); sys.exit(3)")
    with LocalVllmServer(failing, [], free_port()) as replica, pytest.raises(SettingError, match="(?s)3.*no room for"):
        replica.wait_until_ready()
    assert "no room for" in replica.log_file.read_text()  # it is named in the message, so it stays


def test_the_plugin_gets_the_artifact_location() -> None:
    words = build_arguments(
        "base",
        "s3://bucket/prompts",
        max_model_len=65,
        max_num_seqs=4,
        max_num_batched_tokens=256,
        dtype="auto",
        port=1,
    )
    transfer = json.loads(words[words.index("--kv-transfer-config") + 1])
    assert transfer["kv_connector_extra_config"] == {"artifact_location": "s3://bucket/prompts"}


def test_a_missing_vllm_is_reported_with_a_remedy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", os.defpath)
    with pytest.raises(SettingError, match='`replica="URL"`'):
        find_interpreter("vllm")
    vllm = program(tmp_path, "", "vllm")
    with pytest.raises(SettingError):
        find_interpreter(vllm)
    python = program(tmp_path, "")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "vllm").symlink_to(vllm)
    assert find_interpreter(str(tmp_path / "bin" / "vllm")) == python


def test_dtypes_are_translated_for_vllm() -> None:
    assert to_vllm_dtype("bfloat16") == "bfloat16"
    with pytest.raises(SettingError, match="nf4"):
        to_vllm_dtype("nf4")
