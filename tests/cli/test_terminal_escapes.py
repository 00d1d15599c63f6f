"""Every command prints on terminals that cannot show every character, with escapes where necessary."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from softprompt.cli.main import run_cli
from softprompt.cli.terminal_escapes import ASCII_REPLACEMENTS
from tests.cli.conftest import tuned

ENCODINGS = ("cp1252", "ascii", "latin-1")
ANGRY, HAPPY, MEH = "😡", "très 😍", "普通"
ROWS = [
    {"text": text, "label": label}
    for text, label in (("🤮🤮 never again", ANGRY), ("so good – 很好", HAPPY), ("meh…", MEH))
    for _ in range(5)
]

Shown = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def prompt(tmp_path_factory: pytest.TempPathFactory, base: Path) -> Path:
    """Prompt whose labels few terminals can show."""
    return tuned(tmp_path_factory.mktemp("emoji"), base, ROWS)


@pytest.fixture
def data(prompt: Path) -> Path:
    """Examples of the prompt."""
    return prompt.with_name("data.jsonl")


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> Shown:
    """Function that runs a command line on a terminal with an encoding, and returns exit code and output."""

    def call(encoding: str, *arguments: object) -> tuple[int, str, str]:
        out, err = io.BytesIO(), io.BytesIO()
        with monkeypatch.context() as patch:
            patch.setattr(sys, "stdout", io.TextIOWrapper(out, encoding, errors="strict"))
            patch.setattr(sys, "stderr", io.TextIOWrapper(err, encoding, errors="strict"))
            code = run_cli([str(argument) for argument in arguments])
            sys.stdout.flush()
            sys.stderr.flush()
            return code, out.getvalue().decode(encoding), err.getvalue().decode(encoding)

    return call


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize(
    "command", ["data inspect DATA --model BASE", "show PROMPT", "classify PROMPT 😡", "evaluate PROMPT --data DATA"]
)
def test_commands_print_text_and_valid_json_on_terminals_with_few_characters(
    shown: Shown, prompt: Path, data: Path, base: Path, command: str, encoding: str
) -> None:
    names = {"DATA": data, "PROMPT": prompt, "BASE": base}
    arguments = [names.get(word, word) for word in command.split()]
    code, out, err = shown(encoding, *arguments)
    assert code == 0, err
    assert out.strip()
    code, out, err = shown(encoding, *arguments, "--json")
    assert code == 0, err
    assert json.loads(out) == json.loads(shown("utf-8", *arguments, "--json")[1])


def test_show_escapes_only_label_characters_that_the_terminal_cannot_encode(shown: Shown, prompt: Path) -> None:
    _, out, _ = shown("cp1252", "show", prompt, "--no-neighbors")
    assert "\\U0001f621" in out
    assert "très" in out
    assert "->" in out
    _, out, _ = shown("utf-8", "show", prompt, "--no-neighbors")
    assert ANGRY in out


def test_tables_and_bars_fall_back_to_ascii(shown: Shown, data: Path, base: Path) -> None:
    _, out, _ = shown("ascii", "data", "inspect", data, "--model", base)
    assert "####" in out
    assert "\\u2588" not in out
    assert "[[" in out


def test_tune_prints_progress_and_notes_on_terminals_with_few_characters(
    shown: Shown, data: Path, base: Path, tmp_path: Path
) -> None:
    options: dict[str, Any] = {
        "model": base,
        "data": data,
        "output": tmp_path / "p",
        "max-steps": 2,
        "num-virtual-tokens": 2,
    }
    line = [part for name, value in options.items() for part in (f"--{name}", value)]
    code, out, err = shown("cp1252", "tune", *line, "--verbalizer", f"{ANGRY}=糟")
    assert code == 0, err
    assert "Saved in" in out
    code, out, err = shown("ascii", "tune", *line, "--overwrite", "--labels", f"{ANGRY},{HAPPY},{MEH}", "--json")
    assert code == 0, err
    assert json.loads(out)["prompt"] == str(tmp_path / "p")


@pytest.mark.usefixtures("warm_workers")
def test_compare_prints_its_report_on_an_ascii_terminal(shown: Shown, data: Path, base: Path, tmp_path: Path) -> None:
    validation, test = tmp_path / "validation.jsonl", tmp_path / "test.jsonl"
    for file in (validation, test):
        rows = [{**row, "text": f"{row['text']} {file.stem} {i}"} for i, row in enumerate(ROWS)]
        file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    files = {"data": data, "validation": validation, "test": test, "output": tmp_path / "report"}
    options: dict[str, Any] = {"model": base, "methods": "hard", "seeds": 1, **files}
    line = [part for name, value in options.items() for part in (f"--{name}", value)]
    code, out, err = shown("ascii", "compare", *line)
    assert code == 0, err
    assert "hard" in out
    code, out, err = shown("ascii", "compare", *line, "--json")
    assert code == 0, err
    assert json.loads(out) == json.loads((tmp_path / "report" / "report.json").read_text("utf-8"))


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_errors_and_help_are_printed_on_terminals_with_few_characters(shown: Shown, encoding: str) -> None:
    code, _, err = shown(encoding, "show", "no-folder-😡")
    assert code == 2
    assert "\\U0001f621" in err
    assert shown(encoding, "tune", "--help")[0] == 0
    assert shown(encoding, "--help")[0] == 0


def test_generate_escapes_streamed_text_but_not_json_values(
    shown: Shown, writer: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("softprompt.evaluation.respond", lambda *_: iter(["so ", ANGRY]))
    assert shown("cp1252", "generate", writer, "--prompt", ANGRY)[1] == "so \\U0001f621\n"
    code, out, _ = shown("ascii", "generate", writer, "--prompt", ANGRY, "--json")
    assert (code, json.loads(out)) == (0, {"prompt": ANGRY, "response": f"so {ANGRY}"})


def test_ascii_replacements_are_ascii() -> None:
    assert "".join(ASCII_REPLACEMENTS.values()).isascii()
