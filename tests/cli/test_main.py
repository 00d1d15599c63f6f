"""The program: exit codes and messages of errors, and the time until the first output."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from softprompt import __version__
from softprompt.cli.console import stdout_console
from tests.cli.conftest import Softprompt

COMMANDS = ("tune", "demo", "data", "evaluate", "classify", "generate", "show", "export", "import", "prompts")


def test_version_prints_the_version(softprompt: Softprompt) -> None:
    ran = softprompt("--version")
    assert (ran.code, ran.out) == (0, f"softprompt {__version__}\n")


def test_help_lists_every_command(softprompt: Softprompt) -> None:
    ran = softprompt("--help")
    assert ran.code == 0
    assert all(f" {command} " in ran.out for command in COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("option", ["--help", "-h"])
def test_every_command_has_help(softprompt: Softprompt, command: str, option: str) -> None:
    ran = softprompt(command, option)
    assert ran.code == 0
    assert f"Usage: softprompt {command}" in ran.out


def test_softprompt_without_a_command_shows_the_help(softprompt: Softprompt) -> None:
    ran = softprompt()
    assert ran.code == 2
    assert "tune" in ran.out
    assert ran.err == ""


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["tuna"], ["tuna"]),
        (["tune", "--stepz", "3"], ["--stepz"]),
        (["tune", "--max-steps", "many"], ["--max-steps", "integer"]),
        (["tune", "--max-steps"], ["--max-steps", "requires an argument"]),
        (["classify"], ["Missing argument 'prompt'"]),
        (["evaluate", "p"], ["--data"]),
        (["generate", "p"], ["--prompt"]),
        (["export", "p", "q"], ["--format"]),
    ],
)
def test_invalid_command_lines_are_rejected(softprompt: Softprompt, arguments: list[str], words: list[str]) -> None:
    softprompt(*arguments).refused(*words)


def test_errors_are_printed_without_a_traceback(softprompt: Softprompt, tmp_path: Path) -> None:
    softprompt("show", tmp_path / "gone").refused("gone is not a saved prompt: the folder does not exist")


@pytest.mark.parametrize("at", [0, 1, 2])
def test_the_debug_flag_at_any_position_shows_the_traceback(softprompt: Softprompt, tmp_path: Path, at: int) -> None:
    arguments = ["show", str(tmp_path / "gone")]
    arguments.insert(at, "--debug")
    ran = softprompt(*arguments)
    assert ran.code == 2
    assert "Traceback (most recent call last)" in ran.err
    assert "NotASavedPrompt" in ran.err
    assert "error:" in ran.err


def test_error_messages_with_brackets_are_printed_unchanged(softprompt: Softprompt, tmp_path: Path) -> None:
    softprompt("show", tmp_path / "[/bold] [red]").refused("[/bold] [red] is not a saved prompt")


def test_an_internal_error_exits_with_1(
    softprompt: Softprompt, classifier: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("a [/broken] thing")

    monkeypatch.setattr("softprompt.model.load_model", broken)
    ran = softprompt("classify", classifier, "a film")
    assert ran.code == 1
    assert ran.out == ""
    assert "internal error: RuntimeError: a [/broken] thing" in ran.err
    assert "Please report it" in ran.err
    assert "Traceback" not in ran.err
    assert "Traceback" in softprompt("classify", classifier, "a film", "--debug").err


def test_an_interruption_exits_with_130(
    softprompt: Softprompt, classifier: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("softprompt.model.load_model", interrupted)
    ran = softprompt("classify", classifier, "a film")
    assert (ran.code, ran.out, ran.err) == (130, "", "interrupted")


def test_help_does_not_import_model_libraries() -> None:
    script = """
import sys
from softprompt.cli.main import run_cli
assert run_cli(["tune", "--help"]) == 0
assert not {"torch", "transformers", "datasets", "matplotlib", "sqlalchemy"} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, timeout=60)


@pytest.mark.parametrize("command", [["tune", "--help"], ["show", "--no-neighbors", "--json"], ["show"]])
def test_a_closed_stdout_pipe_is_not_an_error(
    softprompt: Softprompt, classifier: Path, monkeypatch: pytest.MonkeyPatch, command: list[str]
) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as closed, monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", closed)
        patch.setattr(stdout_console, "quiet", False)  # rich makes it True
        ran = softprompt(*command, *([classifier] if command[0] == "show" else []))
    stdout_console._buffer.clear()  # rich keeps unwritten output, which the next test would print
    assert (ran.code, ran.err) == (0, "")
