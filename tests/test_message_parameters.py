"""Parameters in messages are found, renamed, and never written as flags outside the command line."""

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
from softprompt.errors import RecordError
from softprompt.message_parameters import rename_parameters, rename_parameters_in_errors, replace_parameters

SOURCE = Path(softprompt.__file__).parent

#: Flags may occur outside the command line only in a whole command.
COMMANDS = re.compile(r"`(softprompt|\{…\}) [^`]*`|  softprompt [^`]*")


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("try `learning_rate`", [("learning_rate", None)]),
        ("choose `placement=\"before\"` or `head='linear'`", [("placement", '"before"'), ("head", "'linear'")]),
        ("`layers=4`: the model has 3", [("layers", "4")]),
        ("`map={'text': 'FIELD'}`", [("map", "{'text': 'FIELD'}")]),
        ('`init="text:a `quoted` word"`', [("init", '"text:a `quoted` word"')]),
        (r"`init='it\'s `so`'` and `head`", [("init", r"'it\'s `so`'"), ("head", None)]),
        ("`softprompt show PROMPT` and `SavedPrompt.to_prefix` are none", []),
        ("label 'a `head` of it' is none of \"`labels`\": give `labels`", [("labels", None)]),
        ("the model's `head`", [("head", None)]),
        ("", []),
    ],
)
def test_parameters_and_values_in_a_message_are_found(message: str, expected: list[tuple[str, str | None]]) -> None:
    parameters: list[tuple[str, str | None]] = []

    def record(name: str, value: str | None) -> None:
        parameters.append((name, value))

    assert replace_parameters(message, record) == message
    assert parameters == expected


def test_renaming_a_parameter_keeps_its_value() -> None:
    names = {"max_new_tokens": "max_tokens"}
    assert rename_parameters("`max_new_tokens=0`: or `seed`", names) == "`max_tokens=0`: or `seed`"
    assert rename_parameters("leave `max_new_tokens` out", names) == "leave `max_tokens` out"


def test_parameters_are_renamed_in_errors() -> None:
    with (
        pytest.raises(RecordError, match="a.jsonl:3: give `task_field`") as caught,
        rename_parameters_in_errors({"tasks": "task_field"}),
    ):
        raise RecordError("a.jsonl:3", "give `tasks`")
    assert caught.value.location == "a.jsonl:3"
    with pytest.raises(ValueError, match="`tasks`"), rename_parameters_in_errors({"tasks": "task_field"}):
        raise ValueError("`tasks`")


def list_flags() -> set[str]:
    """Return all flags of the command line."""

    def iter_flags(command: Any) -> Iterator[str]:
        for parameter in command.params:
            yield from (name for name in (*parameter.opts, *parameter.secondary_opts) if name.startswith("--"))
        for each in getattr(command, "commands", {}).values():
            yield from iter_flags(each)

    return {*iter_flags(get_command(app)), "--debug"}


def iter_strings(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Yield every string of a module, including docstrings, with its line; `…` stands for inserted values."""
    inside: set[int] = set()
    for node in ast.walk(tree):
        match node:
            case ast.JoinedStr(values=values):
                inside |= {id(value) for value in values}
                yield node.lineno, "".join(str(v.value) if isinstance(v, ast.Constant) else "{…}" for v in values)
            case ast.Constant(value=str(text)) if id(node) not in inside:
                yield node.lineno, text


def find_flags(source: str, known: set[str]) -> list[str]:
    return [
        f"{line}: {flag}"
        for line, text in iter_strings(ast.parse(source))
        for flag in re.findall(r"(?<![\w-])--[a-z][a-z-]*", COMMANDS.sub("", text))
        if flag in known
    ]


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ('raise E(f"--max-steps {x}: too few")', ["1: --max-steps"]),
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
def test_flags_in_strings_of_source_code_are_found(source: str, expected: list[str]) -> None:
    assert find_flags(source, list_flags()) == expected


def test_the_list_of_flags_contains_flags_of_all_commands() -> None:
    assert {"--learning-rate", "--overwrite", "--no-activate", "--store", "--map"} <= list_flags()


def test_no_message_outside_the_command_line_names_a_flag() -> None:
    known = list_flags()
    modules = [path for path in SOURCE.rglob("*.py") if path.relative_to(SOURCE).parts[0] != "cli"]
    expected = {str(path.relative_to(SOURCE)): find_flags(path.read_text("utf-8"), known) for path in modules}
    assert {path: lines for path, lines in expected.items() if lines} == {}
    assert len(modules) > 100
