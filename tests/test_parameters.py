"""Parameters that messages name: found where they are meant, given other names, and never a flag."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

import softprompt
from softprompt.cli.main import app
from softprompt.errors import RowError
from softprompt.parameters import rename_parameters, renamed_parameters, replace_parameters

SOURCE = Path(softprompt.__file__).parent

#: Where flags of ours may stand outside the command line: a command that is shown as a whole.
COMMANDS = re.compile(r"`(softprompt|\{…\}) [^`]*`|  softprompt [^`]*")


@pytest.mark.parametrize(
    ("message", "found"),
    [
        ("try `learning_rate`", [("learning_rate", None)]),
        ("choose `placement=\"before\"` or `head='linear'`", [("placement", '"before"'), ("head", "'linear'")]),
        ("`layers=4`: the model has 3", [("layers", "4")]),
        ("`map={'text': 'FIELD'}`", [("map", "{'text': 'FIELD'}")]),
        ('`init="text:a `quoted` word"`', [("init", '"text:a `quoted` word"')]),
        (r"`init='it\'s `so`'` and `head`", [("init", r"'it\'s `so`'"), ("head", None)]),
        ("`softprompt show PROMPT` and `SavedPrompt.compiled` are none", []),
        ("label 'a `head` of it' is none of \"`labels`\": give `labels`", [("labels", None)]),
        ("the model's `head`", [("head", None)]),
        ("", []),
    ],
)
def test_parameters_in_a_message(message: str, found: list[tuple[str, str | None]]) -> None:
    seen: list[tuple[str, str | None]] = []

    def noted(name: str, value: str | None) -> None:
        seen.append((name, value))

    assert replace_parameters(message, noted) == message
    assert seen == found


def test_a_parameter_is_renamed_and_its_value_stays() -> None:
    names = {"max_new_tokens": "max_tokens"}
    assert rename_parameters("`max_new_tokens=0`: or `seed`", names) == "`max_tokens=0`: or `seed`"
    assert rename_parameters("leave `max_new_tokens` out", names) == "leave `max_tokens` out"


def test_errors_from_within_are_renamed_and_stay_what_they_are() -> None:
    with (
        pytest.raises(RowError, match="a.jsonl:3: give `task_field`") as caught,
        renamed_parameters({"tasks": "task_field"}),
    ):
        raise RowError("a.jsonl:3", "give `tasks`")
    assert caught.value.where == "a.jsonl:3"
    with pytest.raises(ValueError, match="`tasks`"), renamed_parameters({"tasks": "task_field"}):
        raise ValueError("`tasks`")


def flags() -> set[str]:
    """All flags of the command line."""

    def below(command: Any) -> Iterator[str]:
        for parameter in command.params:
            yield from (name for name in (*parameter.opts, *parameter.secondary_opts) if name.startswith("--"))
        for each in getattr(command, "commands", {}).values():
            yield from below(each)

    return {*below(get_command(app)), "--debug"}


def texts(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Every text of a module, docstrings too, with its line; what is put into one when it runs is an ellipsis."""
    inside: set[int] = set()
    for node in ast.walk(tree):
        match node:
            case ast.JoinedStr(values=values):
                inside |= {id(value) for value in values}
                yield node.lineno, "".join(str(v.value) if isinstance(v, ast.Constant) else "{…}" for v in values)
            case ast.Constant(value=str(text)) if id(node) not in inside:
                yield node.lineno, text


def flags_in(source: str, known: set[str]) -> list[str]:
    return [
        f"{line}: {flag}"
        for line, text in texts(ast.parse(source))
        for flag in re.findall(r"(?<![\w-])--[a-z][a-z-]*", COMMANDS.sub("", text))
        if flag in known
    ]


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ('raise E(f"--steps {x}: too few")', ["1: --steps"]),
        ('logger.info("no --validation")', ["1: --validation"]),
        ('words = "say --head linear"', ["1: --head"]),
        ('"""What `--data` names."""', ["1: --data"]),
        ('E("`softprompt export --format prefix`")', []),
        ('E(f"run `{NAME} prompts add … --compile MODEL`")', []),
        ('E("run  softprompt tune --output FOLDER")', []),
        ('E("--kv-cache-dtype is vLLM\'s")', []),
        ('E("`head=1` and -- a dash")', []),
    ],
)
def test_a_flag_is_found_in_a_text(source: str, found: list[str]) -> None:
    assert flags_in(source, flags()) == found


def test_there_are_flags() -> None:
    assert {"--learning-rate", "--overwrite", "--no-activate", "--store", "--map"} <= flags()


def test_no_message_outside_the_command_line_names_a_flag() -> None:
    known = flags()
    modules = [path for path in SOURCE.rglob("*.py") if path.relative_to(SOURCE).parts[0] != "cli"]
    found = {str(path.relative_to(SOURCE)): flags_in(path.read_text("utf-8"), known) for path in modules}
    assert {path: lines for path, lines in found.items() if lines} == {}
    assert len(modules) > 100
