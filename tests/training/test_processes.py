"""Two real processes (gloo on the CPU) train one prompt: the one that a single process makes of the same batches."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch

import softprompt
from softprompt.errors import SettingError
from softprompt.model import FrozenModel
from softprompt.saved import SavedPrompt
from softprompt.training.many import run_together
from softprompt.training.settings import TuneSettings
from tests.tiny import tiny_model

PAGE = Path(__file__).parents[2] / "docs" / "training.md"
DDP, FSDP = ("--multi_gpu", "--num_processes", "2"), ("--config_file", "fsdp.yaml")  # as the page has them
CLASSIFYING = {"template": "{text} It is", "method": "prefix", "batch_size": 7, "accumulate": 2}
WRITING = {
    "template": "{text} It is",
    "task": "generation",
    "response_field": "label",
    "method": "prompt",
    "batch_size": 5,
}
FROM_ONE = {"steps": 4, "evaluate_every": 2, "virtual_tokens": 3}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("base")
    model = tiny_model("llama")
    model.network.save_pretrained(folder)
    model.tokenizer.save_pretrained(folder)
    return folder


def launched(folder: Path, launcher: tuple[str, ...], *arguments: object) -> subprocess.Popen[str]:
    page = PAGE.read_text("utf-8")
    assert f"accelerate launch {' '.join(launcher)} -m softprompt tune" in page
    (folder / "fsdp.yaml").write_text(page.partition("```yaml fsdp.yaml\n")[2].partition("```")[0], "utf-8")
    accelerate = [sys.executable, "-m", "accelerate.commands.accelerate_cli", "launch", *launcher]
    command = [*accelerate, "--main_process_port", "0", "-m", "softprompt", "tune", *map(str, arguments)]
    return subprocess.Popen(
        command,
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "200"},
    )


def options(settings: dict[str, Any]) -> list[str]:
    return [part for name, value in settings.items() for part in (f"--{name.replace('_', '-')}", str(value))]


def measured(run: Path) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text("utf-8").splitlines()]
    for line in lines:
        line.pop("useful_tokens_per_second", None)
    return lines


@pytest.mark.parametrize(
    ("launcher", "settings"),
    [(DDP, CLASSIFYING), (DDP, WRITING), (FSDP, {**CLASSIFYING, "batch_size": 6, "gradient_checkpointing": True})],
    ids=["ddp-classifying", "ddp-writing", "fsdp"],
)
def test_two_processes_make_the_prompt_of_one(
    launcher: tuple[str, ...], settings: dict[str, Any], base: Path, reviews: Path, tmp_path: Path
) -> None:
    given = {**FROM_ONE, **settings, "data": reviews, "validation": reviews}
    alone = softprompt.tune(str(base), output=tmp_path / "alone", **given)
    flags = ["--gradient-checkpointing"] if given.pop("gradient_checkpointing", False) else []
    process = launched(
        tmp_path, launcher, "--model", base, "--output", tmp_path / "shared", "--json", *flags, *options(given)
    )
    out, err = process.communicate()
    assert process.returncode == 0, err
    assert ("a part of every layer" in " ".join(err.split())) == (launcher == FSDP)
    assert json.loads(out)["steps"] == 4  # one object: the second process says nothing
    mine, theirs = (SavedPrompt.read(tmp_path / name).payload.tensor for name in ("alone", "shared"))
    torch.testing.assert_close(theirs, mine, rtol=1e-4, atol=1e-5)
    for one, other in zip(measured(tmp_path / "alone.run"), measured(tmp_path / "shared.run"), strict=True):
        assert other == pytest.approx(one, rel=1e-3, abs=1e-4) if "loss" in one else other["step"] == one["step"]
    assert alone.best["step"] == json.loads(out)["best"]["step"]


def test_a_wish_to_stop_reaches_all(base: Path, reviews: Path, tmp_path: Path) -> None:
    given = {**FROM_ONE, **CLASSIFYING, "steps": 4000, "evaluate_every": 4000, "data": reviews, "validation": reviews}
    command = ["--model", base, "--output", tmp_path / "p", "--json", *options(given)]
    process = launched(tmp_path, DDP, *command)
    metrics = tmp_path / "p.run" / "metrics.jsonl"
    while not (metrics.is_file() and metrics.stat().st_size):
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    second = next(p for p in psutil.Process(process.pid).children(recursive=True) if p.environ().get("RANK") == "1")
    second.send_signal(signal.SIGINT)
    out, err = process.communicate()
    assert process.returncode == 0, err
    done = json.loads(out)["steps"]
    assert 0 < done < 4000
    assert not (tmp_path / "p").exists()
    assert [line["step"] for line in measured(tmp_path / "p.run")] == list(range(1, done + 1))


def test_what_one_process_does_is_refused(
    model: FrozenModel, reviews: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    settings = TuneSettings.of({"data": reviews, "output": tmp_path / "p"})
    with pytest.raises(SettingError, match="one process"):
        run_together({"a": settings}, model)
