"""Runs of `softprompt distil` that find an existing output, are interrupted, or are resumed."""

from __future__ import annotations

import errno
import itertools
import os
import signal
from pathlib import Path
from typing import Any

import pytest

import softprompt as package
from softprompt.distillation.response_teacher import ResponseTeacher
from tests.cli.conftest import (
    DISTILLED_TEXT,
    Distil,
    Softprompt,
    StopAfter,
    files,
    logged,
)


def test_distil_protects_existing_outputs(distil: Distil, output: Path) -> None:
    assert distil().code == 0
    before = files(output.parent)
    for virtual_tokens in ("3", "all"):
        distil("--num-virtual-tokens", virtual_tokens).refused("exists", "--overwrite")
    assert files(output.parent) == before
    assert distil("--overwrite").code == 0


def test_distil_leaves_foreign_files_alone(distil: Distil, output: Path) -> None:
    run_folder = output.with_name("p.run")
    run_folder.mkdir(parents=True)
    (run_folder / "notes.txt").write_text("mine")
    assert distil("--overwrite").code == 0
    assert (run_folder / "notes.txt").read_text() == "mine"


def test_distil_overwrites_no_foreign_targets(distil: Distil, output: Path) -> None:
    run_folder = output.with_name("p.run")
    run_folder.mkdir(parents=True)
    (run_folder / "teacher.safetensors").write_text("mine")
    distil("--overwrite").refused("is not the folder of a run, so teacher.safetensors in it is not overwritten")
    assert files(output.parent) == {"p.run/teacher.safetensors": b"mine"}


@pytest.fixture
def stopped(base: Path, instruction: Path, inputs: Path, output: Path) -> Path:
    """Output of a distillation that was stopped after two of its four steps."""
    package.distil(
        str(base),
        context=instruction,
        data=inputs,
        output=output,
        max_steps=4,
        max_new_tokens=4,
        num_virtual_tokens=3,
        callback=StopAfter(2),
    )
    return output


def test_resume_continues_with_the_settings_of_the_run(softprompt: Softprompt, stopped: Path) -> None:
    ran = softprompt("distil", "--output", stopped, "--resume", "--json")
    assert ran.json["steps"] == 4
    assert "continuing after step 2" in ran.err
    assert [line["step"] for line in logged(stopped)] == [1, 2, 3, 4]


def test_resume_rejects_a_changed_setting_or_text(softprompt: Softprompt, stopped: Path, instruction: Path) -> None:
    before = files(stopped.parent)
    softprompt("distil", "--output", stopped, "--resume", "--max-steps", 7).refused("other values of --max-steps")
    instruction.write_text(DISTILLED_TEXT + " now")
    softprompt("distil", "--output", stopped, "--resume").refused("began with other data: source", "--overwrite")
    assert files(stopped.parent) == before


def test_an_unfinished_run_is_restarted_only_with_overwrite(distil: Distil, stopped: Path) -> None:
    distil().refused("p.run holds an unfinished run", "--resume", "--overwrite")
    assert distil("--overwrite", "--json").json["steps"] == 2


def test_a_run_is_resumed_only_by_its_command(softprompt: Softprompt, base: Path, reviews: Path, stopped: Path) -> None:
    before = files(stopped.parent)
    softprompt("tune", "--output", stopped, "--resume").refused("holds a run of another command", "context")
    assert files(stopped.parent) == before
    tuned = stopped.with_name("tuned")
    package.tune(str(base), data=reviews, output=tuned, max_steps=3, num_virtual_tokens=3, callback=StopAfter(1))
    softprompt("distil", "--output", tuned, "--resume").refused("holds a run of another command", "method")


def test_ctrl_c_stops_between_answers_of_the_teacher(
    distil: Distil, softprompt: Softprompt, inputs: Path, output: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, batches = ResponseTeacher._write_responses, itertools.count(1)

    def press(self: ResponseTeacher, examples: Any) -> Any:
        if next(batches) == 1:
            os.kill(os.getpid(), signal.SIGINT)
        return write(self, examples)

    monkeypatch.setattr("softprompt.distillation.response_teacher.DECODING_BATCH_SIZE", 2)
    monkeypatch.setattr(ResponseTeacher, "_write_responses", press)
    ran = distil()
    assert ran.code == 0
    assert "Stopped before training." in ran.out
    assert next(batches) == 2
    assert not output.exists()
    assert softprompt("distil", "--output", output, "--resume", "--json").json["steps"] == 2


def test_a_damaged_file_of_targets_is_computed_again(softprompt: Softprompt, stopped: Path) -> None:
    targets = stopped.with_name("p.run") / "teacher.safetensors"
    content = targets.read_bytes()
    targets.write_bytes(content[: len(content) // 2])
    assert softprompt("distil", "--output", stopped, "--resume").code == 0
    assert targets.read_bytes() == content


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_full_disk_at_any_write_leaves_the_old_or_the_new_prompt(
    distil: Distil, output: Path, monkeypatch: pytest.MonkeyPatch, overwrite: bool
) -> None:
    before: dict[str, bytes] = {}
    if overwrite:
        assert distil("--init", "random").code == 0
        before = files(output)
    left, fsync = [], os.fsync
    for n in itertools.count(1):
        calls = itertools.count(1)

        def full(descriptor: int, calls: Any = calls, n: int = n) -> None:
            if next(calls) == n:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            fsync(descriptor)

        monkeypatch.setattr(os, "fsync", full)
        ran = distil("--overwrite")
        if ran.code == 0:
            break
        ran.refused("no space left for")
        left.append(files(output))
        assert not [name for name in files(output.parent) if ".tmp" in name]
    assert n > 5
    assert all(each in (before, files(output)) for each in left)
    assert before in left
