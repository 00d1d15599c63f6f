"""Law 7: killed (SIGKILL) at any step and resumed, the prompt ends bit-identical to the undisturbed run's."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

import softprompt
from softprompt.distillation import target_store
from softprompt.training import EvalEvent, StepEvent
from tests.strategies import METHODS, tuning
from tests.tiny import FAMILIES, tiny_model
from tests.warm import exit_code

STEPS = 7


class KilledAt:
    """Callback that kills the process without any cleanup."""

    def __init__(self, step: int):
        self.step = step

    def on_begin(self, steps: int, done: int) -> None: ...

    def on_step(self, event: StepEvent) -> None:
        if event.step == self.step:
            os.kill(os.getpid(), signal.SIGKILL)

    def on_evaluate(self, event: EvalEvent) -> None: ...

    def should_stop(self) -> bool:
        return False


def train(
    family: str, method: str, encoder: str, data: str, output: str, kill_at: int = 0, resume: bool = False
) -> None:
    softprompt.tune(
        tiny_model(family),
        data=data,
        output=output,
        encoder=encoder,
        max_steps=STEPS,
        batch_size=3,
        gradient_accumulation_steps=2,
        eval_steps=2,
        save_steps=2,
        callback=KilledAt(kill_at),
        resume=resume,
        **tuning(method, 3),
    )


def top(data: str, output: str, kill_at: int = 0, resume: bool = False) -> None:
    """Tune a prefix in the top layer, above cached hidden states."""
    softprompt.tune(
        tiny_model("llama"),
        data=data,
        output=output,
        layers=1,
        num_virtual_tokens=3,
        max_steps=STEPS,
        batch_size=3,
        eval_steps=2,
        callback=KilledAt(kill_at),
        resume=resume,
    )


def distil(
    task: str, context: str, data: str, output: str, kill_at: int = 0, answered: int = 0, resume: bool = False
) -> None:
    """Distil a text; kill the process at a step, or after a number of the teacher's answers."""

    def on_progress(stage: str, completed: int, total: int) -> None:
        if 0 < answered <= completed:
            os.kill(os.getpid(), signal.SIGKILL)

    softprompt.distil(
        tiny_model("llama"),
        context=context,
        data=data,
        validation=data,
        output=output,
        task=task,
        labels=("good", "bad") if task == "classification" else None,
        num_virtual_tokens=3,
        max_new_tokens=4,
        max_steps=STEPS,
        batch_size=3,
        gradient_accumulation_steps=2,
        eval_steps=2,
        callback=KilledAt(kill_at),
        on_progress=on_progress,
        resume=resume,
    )


def study(document: str, output: str, stage: str = "", kill_at: int = 0, resume: bool = False) -> None:
    """Distil a document from the model's own questions; kill the process in a stage before training, or at a step."""

    def on_progress(current: str, completed: int, total: int) -> None:
        if current == stage and completed > 0:
            os.kill(os.getpid(), signal.SIGKILL)

    softprompt.distil(
        tiny_model("llama"),
        document=document,
        num_questions=8,
        output=output,
        num_virtual_tokens=3,
        max_new_tokens=4,
        max_steps=STEPS,
        batch_size=3,
        eval_steps=2,
        callback=KilledAt(kill_at),
        on_progress=on_progress,
        resume=resume,
    )


def distil_on_a_lost_disk(task: str, context: str, data: str, output: str) -> None:
    """Distil a text; kill the process after half of the teacher's targets were written."""

    def write_half(path: Path, content: bytes) -> None:
        path.write_bytes(content[: len(content) // 2])
        os.kill(os.getpid(), signal.SIGKILL)

    target_store.atomic_write_file = write_half  # type: ignore[assignment]
    distil(task, context, data, output)


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("family", "method", "encoder", "kill_at"),
    [
        *((FAMILIES[i % len(FAMILIES)], *METHODS[i], 1 + (3 * i) % STEPS) for i in range(len(METHODS))),
        ("t5", "prefix", "none", 3),
        ("bart", "p-tuning", "lstm", 4),
    ],
)
def test_a_killed_and_resumed_run_equals_an_uninterrupted_one(
    family: str, method: str, encoder: str, kill_at: int, reviews: Path, tmp_path: Path
) -> None:
    undisturbed, disturbed = tmp_path / "undisturbed", tmp_path / "disturbed"
    train(family, method, encoder, str(reviews), str(undisturbed))
    assert exit_code(train, family, method, encoder, str(reviews), str(disturbed), kill_at) == -signal.SIGKILL
    assert not disturbed.exists()
    train(
        family, method, encoder, str(reviews), str(disturbed), resume=(tmp_path / "disturbed.run" / "run.json").exists()
    )
    assert content(disturbed) == content(undisturbed)
    steps = [line for line in lines(tmp_path / "disturbed.run") if "loss" in line]
    assert [line["step"] for line in steps] == list(range(1, STEPS + 1))


@pytest.mark.parametrize("resumed", ["cache", "another"])
def test_a_killed_and_resumed_run_with_a_hidden_state_cache_equals_an_uninterrupted_one(
    resumed: str, reviews: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The resumed run finds the cached states of the killed run, or none."""
    undisturbed, disturbed = tmp_path / "undisturbed", tmp_path / "disturbed"
    monkeypatch.setattr("softprompt.training.prompt_setup.get_cache_folder", lambda: tmp_path / "first")
    top(str(reviews), str(undisturbed))
    with monkeypatch.context() as patch:
        patch.setenv("SOFTPROMPT_CACHE", str(tmp_path / "cache"))
        assert exit_code(top, str(reviews), str(disturbed), 5) == -signal.SIGKILL
    assert (tmp_path / "cache" / "trunks.sqlite").is_file()
    monkeypatch.setattr("softprompt.training.prompt_setup.get_cache_folder", lambda: tmp_path / resumed)
    top(str(reviews), str(disturbed), resume=True)
    assert content(disturbed) == content(undisturbed)


@pytest.fixture
def instruction(tmp_path: Path) -> str:
    """Path of a text to distill."""
    path = tmp_path / "text.txt"
    path.write_text("the film was great fun and the food is awful, say good or bad", "utf-8")
    return str(path)


@pytest.mark.parametrize("task", ["classification", "generation"])
@pytest.mark.parametrize("kill", [{"answered": 1}, {"kill_at": 1}, {"kill_at": 5}, {"kill_at": STEPS}], ids=str)
def test_a_killed_and_resumed_distillation_equals_an_uninterrupted_one(
    kill: dict[str, int],
    task: str,
    instruction: str,
    write_jsonl: Callable[[str, Sequence[Any]], Path],
    tmp_path: Path,
) -> None:
    data = str(write_jsonl("inputs.jsonl", [{"text": f"film {i} " + "was " * i} for i in range(9)]))
    undisturbed, disturbed = tmp_path / "undisturbed", tmp_path / "disturbed"
    distil(task, instruction, data, str(undisturbed))
    killed = exit_code(distil, task, instruction, data, str(disturbed), *map(kill.get, ("kill_at", "answered"), (0, 0)))
    assert killed == -signal.SIGKILL
    assert not disturbed.exists()
    distil(task, instruction, data, str(disturbed), resume=True)
    assert content(disturbed) == content(undisturbed)
    steps = [line for line in lines(tmp_path / "disturbed.run") if "loss" in line]
    assert [line["step"] for line in steps] == list(range(1, STEPS + 1))


def test_a_distillation_killed_while_the_targets_are_written_equals_an_uninterrupted_one(
    instruction: str, write_jsonl: Callable[[str, Sequence[Any]], Path], tmp_path: Path
) -> None:
    data = str(write_jsonl("inputs.jsonl", [{"text": f"film {i} " + "was " * i} for i in range(9)]))
    undisturbed, disturbed = tmp_path / "undisturbed", tmp_path / "disturbed"
    distil("generation", instruction, data, str(undisturbed))
    assert exit_code(distil_on_a_lost_disk, "generation", instruction, data, str(disturbed)) == -signal.SIGKILL
    distil("generation", instruction, data, str(disturbed), resume=True)
    assert content(disturbed) == content(undisturbed)


@pytest.mark.parametrize("kill", [("writing questions", 0), ("asking the teacher", 0), ("", 5)], ids=str)
def test_a_killed_and_resumed_distillation_of_a_document_equals_an_uninterrupted_one(
    kill: tuple[str, int], instruction: str, tmp_path: Path
) -> None:
    undisturbed, disturbed = tmp_path / "undisturbed", tmp_path / "disturbed"
    study(instruction, str(undisturbed))
    assert exit_code(study, instruction, str(disturbed), *kill) == -signal.SIGKILL
    study(instruction, str(disturbed), resume=True)
    assert content(disturbed) == content(undisturbed)


def lines(folder: Path) -> list[dict[str, object]]:
    from softprompt.training.run_folder import RunFolder

    return RunFolder(folder).read_log()
