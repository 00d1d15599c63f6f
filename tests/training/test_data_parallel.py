"""Two real processes (gloo on the CPU) train the same prompt as one process with the same batches."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest
import torch

import softprompt
from softprompt.errors import SettingError
from softprompt.model import FrozenModel, Placement
from softprompt.prompts.initializers import InitialValue
from softprompt.prompts.prompt_tuning import PromptTuning
from softprompt.saved import SavedPrompt
from softprompt.tasks import ClassificationTask, EncodedExample, LabelTarget
from softprompt.training.concurrent_runs import tune_concurrently
from softprompt.training.data_parallel import DistributedGroup, DistributedTrainable
from softprompt.training.prompt_trainable import PromptTrainable
from softprompt.training.tune_result import TuneResult
from softprompt.training.tune_settings import TuneSettings
from tests.tiny import tiny_model
from tests.warm import forked

PAGE = Path(__file__).parents[2] / "docs" / "training.md"
DDP, FSDP = ("--multi_gpu", "--num_processes", "2"), ("--config_file", "fsdp.yaml")  # as the page has them
CLASSIFYING = {"template": "{text} It is", "method": "prefix", "batch_size": 7, "gradient_accumulation_steps": 2}
WRITING = {
    "template": "{text} It is",
    "task": "generation",
    "response_field": "label",
    "method": "prompt",
    "batch_size": 5,
}
FROM_ONE = {"max_steps": 4, "eval_steps": 2, "num_virtual_tokens": 3}


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


@contextmanager
def two_processes(folder: Path, *arguments: object) -> Iterator[list[BaseProcess]]:
    """The same without the launcher, by processes that have their libraries already, each told what it would tell.

    Who speaks is decided as the command line is imported, so here both do.
    """
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    processes = []
    for rank in range(2):
        told = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": 2, "LOCAL_WORLD_SIZE": 2, "MASTER_PORT": port}
        with pytest.MonkeyPatch.context() as patch:
            for name, value in {**told, "MASTER_ADDR": "127.0.0.1", "COLUMNS": 200}.items():
                patch.setenv(name, str(value))
            processes.append(forked(_tune, folder / f"{rank}.out", folder / f"{rank}.err", [*map(str, arguments)]))
    yield processes
    for process in processes:
        process.join()
        assert process.exitcode == 0, "".join((folder / f"{rank}.err").read_text("utf-8") for rank in range(2))


def _tune(out: Path, err: Path, arguments: list[str]) -> None:
    from softprompt.cli.main import run_cli

    signal.signal(signal.SIGINT, signal.default_int_handler)  # whom it was forked from ignores it
    for number, file in ((1, out), (2, err)):
        os.dup2(os.open(file, os.O_WRONLY | os.O_CREAT), number)
    sys.exit(run_cli(["tune", *arguments]))


def check_alike(folder: Path, said: str, alone: TuneResult) -> None:
    """Check that two processes wrote to `shared` what one wrote to `alone`, and printed one result."""
    assert json.loads(said)["steps"] == 4  # one object: the second process says nothing
    mine, theirs = (SavedPrompt.from_folder(folder / name).payload.tensor for name in ("alone", "shared"))
    torch.testing.assert_close(theirs, mine, rtol=1e-4, atol=1e-5)
    for one, other in zip(measured(folder / "alone.run"), measured(folder / "shared.run"), strict=True):
        assert other == pytest.approx(one, rel=1e-3, abs=1e-4) if "loss" in one else other["step"] == one["step"]
    assert alone.best["step"] == json.loads(said)["best"]["step"]


@pytest.mark.parametrize(
    ("launcher", "settings"),
    [(DDP, CLASSIFYING), (FSDP, {**CLASSIFYING, "batch_size": 6, "gradient_checkpointing": True})],
    ids=["ddp", "fsdp"],
)
def test_two_processes_train_the_same_prompt_as_one(
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
    assert ("a shard of every layer" in " ".join(err.split())) == (launcher == FSDP)
    check_alike(tmp_path, out, alone)


def test_responses_of_different_lengths_have_the_weights_of_one_process(
    base: Path, reviews: Path, tmp_path: Path
) -> None:
    given = {**FROM_ONE, **WRITING, "data": reviews, "validation": reviews}
    alone = softprompt.tune(str(base), output=tmp_path / "alone", **given)
    with two_processes(tmp_path, "--model", base, "--output", tmp_path / "shared", "--json", *options(given)):
        pass
    check_alike(tmp_path, (tmp_path / "0.out").read_text("utf-8"), alone)


def test_interrupt_of_one_process_stops_all_processes(base: Path, reviews: Path, tmp_path: Path) -> None:
    given = {**FROM_ONE, **CLASSIFYING, "max_steps": 4000, "eval_steps": 4000, "data": reviews, "validation": reviews}
    metrics = tmp_path / "p.run" / "metrics.jsonl"
    with two_processes(tmp_path, "--model", base, "--output", tmp_path / "p", "--json", *options(given)) as processes:
        while not (metrics.is_file() and metrics.stat().st_size):
            assert all(process.is_alive() for process in processes), (tmp_path / "0.err").read_text("utf-8")
            time.sleep(0.05)
        assert processes[1].pid is not None
        os.kill(processes[1].pid, signal.SIGINT)
    done = json.loads((tmp_path / "0.out").read_text("utf-8"))["steps"]
    assert 0 < done < 4000
    assert not (tmp_path / "p").exists()
    assert [line["step"] for line in measured(tmp_path / "p.run")] == list(range(done + 1))


def test_joint_training_is_rejected_in_several_processes(
    model: FrozenModel, reviews: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    settings = TuneSettings.from_dict({"data": reviews, "output": tmp_path / "p"})
    with pytest.raises(SettingError, match="one process"):
        tune_concurrently({"a": settings}, model)


def test_process_without_examples_gets_the_auxiliary_loss_of_others() -> None:
    """Without it, the processes would shorten the same step differently, and diverge."""
    model, prompt = tiny_model("llama"), PromptTuning(InitialValue(torch.zeros(2, 3), "zeros"), Placement.BEFORE)
    others = [torch.tensor([6.0, 12.0, 9.0, 3.0]), torch.ones(6)]  # losses, tokens and weight; then gradients

    class Second(DistributedGroup):
        def __init__(self) -> None:
            self.rank, self.world_size = 1, 2

        def all_reduce_sum(self, values: torch.Tensor) -> torch.Tensor:
            return values + others.pop(0)

    objective = ClassificationTask(labels=("a", "b")).build_objective(model, 100)
    learnt = DistributedTrainable(PromptTrainable(prompt), Second()).accumulate_gradients(
        objective, [EncodedExample([3], LabelTarget(0))], 1
    )
    assert learnt == (2.0, 9, 3.0, 4.0)
    assert learnt.total_loss == 6.0
