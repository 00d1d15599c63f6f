"""Parameters of the running command as its flags: the library names them as Python does, and people type flags."""

from __future__ import annotations

import ast
import logging
import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import typer
from typer.core import TyperArgument, TyperGroup, TyperOption

from softprompt.log_lines import LineFormatter
from softprompt.parameters import replace_parameters


class Flags:
    """The flags of one command, by the names that its parameters have in Python."""

    def __init__(self, command: Any):  # typer names its commands' own class nowhere in public
        self._parameters = {(each.name or "").rstrip("_"): each for each in command.params}

    @classmethod
    def of(cls, app: typer.Typer, arguments: Sequence[str]) -> Flags:
        """The flags of the command that the arguments name; the program's own where they name none."""
        command: Any = typer.main.get_command(app)
        for argument in arguments:
            command = getattr(command, "commands", {}).get(argument, command)
            if not isinstance(command, TyperGroup):
                break
        return cls(command)

    def put_in(self, message: str) -> str:
        """A message of the library's with the command's flags; what is no parameter of the command stays as it is."""
        return replace_parameters(message, self._written)

    def _written(self, name: str, value: str | None) -> str | None:
        match self._parameters.get(name):
            case TyperArgument() as argument:
                return (argument.metavar or name).upper() if value is None else _typed(value)
            case TyperOption(is_flag=True) as option:
                return _switch(option, value)
            case TyperOption() as option if value is None:
                return _flag(option.opts)
            case TyperOption() as option if value != "None":
                return f"{_flag(option.opts)} {_typed(value or '')}"
        return None


_RUNNING: ContextVar[Flags | None] = ContextVar("running", default=None)


@contextmanager
def running(flags: Flags) -> Iterator[None]:
    """Inside, these are the flags of the running command."""
    before = _RUNNING.set(flags)
    try:
        yield
    finally:
        _RUNNING.reset(before)


def with_flags(message: str) -> str:
    """A message of the library's with the running command's flags, for what a command prints of several errors."""
    flags = _RUNNING.get()
    return message if flags is None else flags.put_in(message)


class FlagFormatter(LineFormatter):
    """Writes a log line with the flags of the running command."""

    def __init__(self, flags: Flags):
        super().__init__()
        self.flags = flags

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        return self.flags.put_in(super().format(record))


def _flag(names: Sequence[str]) -> str:
    return max(names, key=len)


def _switch(option: TyperOption, value: str | None) -> str | None:
    """`--activate` or `--no-activate`; nothing for a switch that is off by being left out."""
    if value != "False":
        return _flag(option.opts)
    return _flag(option.secondary_opts) if option.secondary_opts else None


def _typed(value: str) -> str:
    """A value that Python writes, as it is typed in a shell."""
    try:
        found = ast.literal_eval(value)
    except (ValueError, SyntaxError):  # nan, or a word such as FIELD that stands for a value
        return value
    text = _joined(found)
    return shlex.quote(text) if text.isprintable() else value


def _joined(value: Any) -> str:
    """Several values as one option takes them: `a,b`, or `name=value,…`."""
    if isinstance(value, Mapping):
        return ",".join(f"{name}={_joined(each)}" for name, each in value.items())
    return ",".join(map(_joined, value)) if isinstance(value, list | tuple) else str(value)
