"""Texts of tenants and files never move the terminal's cursor, reverse a line, or forge a line of output."""

from __future__ import annotations

import json
import logging
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from rich.table import Table

from softprompt.cli.safe_console import SafeConsole
from softprompt.cli.terminal_escapes import dump_json_line
from softprompt.log_formatter import EscapingLogFormatter
from softprompt.registry import PromptRegistry
from softprompt.saved import SavedPrompt
from softprompt.tasks import ClassificationTask
from tests.cli.conftest import Softprompt
from tests.saved.factories import forge

EVIL = "\x1b[2J\x1b]0;owned\x07\x9b31m\r\u202eevil\u2066\u200f\x08\x7f\u2028\x00"
OBEYED = set(EVIL) - set("[2J]0;owned31mevil")
ROW = "mine\nacme    reviews@9"


def check_seen(text: str) -> None:
    assert not set(text) & OBEYED, repr(text)
    assert r"\x1b[2J" in text


@pytest.fixture
def forged(classifier: Path, tmp_path: Path) -> Path:
    """Prompt whose labels, template and method contain control characters, with matching hashes."""
    folder = shutil.copytree(classifier, tmp_path / "evil")
    task = ClassificationTask(labels=("good", EVIL), template=f"{EVIL.replace(chr(0), '')} {{text}}")
    forge(folder, task=task, method={"name": f"prefix {EVIL}".replace("\0", "")})
    return folder


def test_show_escapes_control_characters_of_a_saved_prompt(softprompt: Softprompt, forged: Path) -> None:
    ran = softprompt("show", forged, "--no-neighbors")
    assert ran.code == 0
    check_seen(ran.out)
    found = softprompt("show", forged, "--no-neighbors", "--json")
    check_json(found.out)
    assert found.json["task"]["labels"] == ["good", EVIL]


def check_json(out: str) -> None:
    assert not set(out) & OBEYED
    assert out.count("\n") == 1


def test_registry_lists_escape_control_characters(softprompt: Softprompt, forged: Path, tmp_path: Path) -> None:
    with PromptRegistry.open(tmp_path / "store", create=True) as store:
        store.register_prompt(SavedPrompt.from_folder(forged), "reviews", note=EVIL.replace("\0", "") + ROW)
    for command in ("list", "history"):
        ran = softprompt("prompts", command, "--store", tmp_path / "store")
        assert ran.code == 0
        assert not set(ran.out) & OBEYED
        assert command == "history" or r"\x1b" in ran.out
        assert not any(line.strip().startswith("acme") for line in ran.out.splitlines())
        check_json(softprompt("prompts", command, "--store", tmp_path / "store", "--json").out)


@pytest.mark.parametrize("where", ["text", "label", "field"])
def test_errors_and_notes_that_quote_records_escape_control_characters(
    softprompt: Softprompt, base: Path, tmp_path: Path, where: str
) -> None:
    rows: list[dict[str, Any]] = [{"text": "a", "label": "b"}, {"text": "c", "label": EVIL}] * 3
    if where == "text":
        rows[1] = {"text": {EVIL: EVIL}, "label": "b"}
    if where == "field":
        rows = [{EVIL: "a", f"more {EVIL}": "b"}] * 3
    data = tmp_path / f"d{EVIL[:6]}.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    for command in (("data", "inspect", data), ("tune", "--data", data, "--model", base, "--output", tmp_path / "p")):
        if command[0] == "tune" and where == "label":
            command = (*command, "--labels", "x,y")  # so that the label of a record is rejected and quoted
        ran = softprompt(*command)
        assert not set(ran.out + ran.err) & OBEYED


def test_errors_that_quote_arguments_escape_control_characters(softprompt: Softprompt) -> None:
    typed = EVIL.replace("\0", "")
    for command in ((typed,), ("show", typed), ("tune", f"--{typed}"), ("serve", "--port", typed)):
        ran = softprompt(*command)
        assert ran.code == 2
        assert not set(ran.out + ran.err) & OBEYED


def test_safe_console_escapes_control_characters_in_texts_and_tables(capsys: pytest.CaptureFixture[str]) -> None:
    console = SafeConsole(width=400, force_terminal=True, emoji=False)
    table = Table(EVIL, title=EVIL)
    table.add_row(EVIL)
    console.print(EVIL, markup=False)
    console.print(f"[bold]{EVIL}[/]", soft_wrap=True)
    console.print(table)
    check_seen(re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out))  # without rich's own colours


def test_a_log_message_stays_on_one_line_and_its_traceback_is_escaped() -> None:
    try:
        raise ValueError(EVIL)
    except ValueError as error:
        failed = (ValueError, error, None)
        record = logging.LogRecord("softprompt", logging.ERROR, "f.py", 1, "a %s", (EVIL + ROW,), failed)
    line, *traceback = EscapingLogFormatter().format(record).split("\n")
    check_seen(line)
    assert line.endswith(r"mine\nacme    reviews@9")
    check_seen("\n".join(traceback))
    assert json.loads(dump_json_line(EVIL)) == EVIL
