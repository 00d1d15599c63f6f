"""A vLLM server of the gateway's own, by a program that stands in for vLLM's: what it is started with, and its end."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import psutil
import pytest

from softprompt.errors import SettingError
from softprompt.server.gateway.own import OwnReplica, arguments, dtype_of, interpreter
from tests.ports import free_port
from tests.server.running import until

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


def test_it_begins_answers_and_ends_with_all_that_it_started(tmp_path: Path) -> None:
    port = free_port()
    words = arguments("base", "store/prompts", length=65, slots=4, dtype="float32", port=port)
    with OwnReplica(program(tmp_path, SERVING), words, port) as replica:
        replica.wait()
        assert replica.is_running
        began, child, *said = replica.log.read_text().split(maxsplit=2)
        assert began == "began"
        assert "--model base --host 127.0.0.1" in said[0]
        assert psutil.pid_exists(int(child))
    assert not replica.is_running
    until(lambda: not psutil.pid_exists(int(child)) or psutil.Process(int(child)).status() == psutil.STATUS_ZOMBIE)


def test_what_it_said_is_shown_when_it_does_not_begin(tmp_path: Path) -> None:
    failing = program(tmp_path, "import sys; print('no room for the model'); sys.exit(3)")
    with OwnReplica(failing, [], free_port()) as replica, pytest.raises(SettingError, match="(?s)3.*no room for"):
        replica.wait()


def test_the_plugin_is_told_where_the_prompts_are() -> None:
    words = arguments("base", "s3://bucket/prompts", length=65, slots=4, dtype="auto", port=1)
    transfer = json.loads(words[words.index("--kv-transfer-config") + 1])
    assert transfer["kv_connector_extra_config"] == {"prompts": "s3://bucket/prompts"}


def test_where_there_is_no_vllm_it_is_said_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", os.defpath)
    with pytest.raises(SettingError, match='`replica="URL"`'):
        interpreter("vllm")
    vllm = program(tmp_path, "", "vllm")
    with pytest.raises(SettingError):
        interpreter(vllm)
    python = program(tmp_path, "")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "vllm").symlink_to(vllm)
    assert interpreter(str(tmp_path / "bin" / "vllm")) == python


def test_precisions_in_vllms_words() -> None:
    assert dtype_of("bfloat16") == "bfloat16"
    with pytest.raises(SettingError, match="nf4"):
        dtype_of("nf4")
