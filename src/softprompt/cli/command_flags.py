"""Translates the Python parameters in the library's messages into the flags of the running command."""

from __future__ import annotations

import ast
import logging
import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from typer.core import TyperArgument, TyperGroup, TyperOption

from softprompt.log_formatter import EscapingLogFormatter
from softprompt.message_parameters import replace_parameters

#: Options of commands by the names that parameters of `softprompt.data` have for the same value.
_OPTION_NAMES = {"column_map": "map", "format_name": "format"}


class CommandFlags:
    """Map from the Python parameters of one command to its flags."""

    def __init__(self, command: Any):  # typer has no public name for the class of its commands
        self._parameters = {(parameter.name or "").rstrip("_"): parameter for parameter in command.params}

    @classmethod
    def from_arguments(cls, command: Any, arguments: Sequence[str]) -> CommandFlags:
        """Return the flags of the command that the arguments name below a group, or of the group itself."""
        for argument in arguments:
            command = getattr(command, "commands", {}).get(argument, command)
            if not isinstance(command, TyperGroup):
                break
        return cls(command)

    def insert_into(self, message: str) -> str:
        """Replace parameters of the command in a message by flags. Other names stay unchanged."""
        return replace_parameters(message, self._format_parameter)

    def _format_parameter(self, name: str, value: str | None) -> str | None:
        match self._parameters.get(_OPTION_NAMES.get(name, name)):
            case TyperArgument() as argument:
                return (argument.metavar or name).upper() if value is None else _quote_value(value)
            case TyperOption(is_flag=True) as option:
                return _format_switch(option, value)
            case TyperOption() as option if value is None:
                return _longest_flag(option.opts)
            case TyperOption() as option if value != "None":
                return f"{_longest_flag(option.opts)} {_quote_value(value or '')}"
        return None


_CURRENT_FLAGS: ContextVar[CommandFlags | None] = ContextVar("running", default=None)


@contextmanager
def use_flags(flags: CommandFlags) -> Iterator[None]:
    """Set the flags of the running command inside a `with` block."""
    token = _CURRENT_FLAGS.set(flags)
    try:
        yield
    finally:
        _CURRENT_FLAGS.reset(token)


def insert_flags(message: str) -> str:
    """Replace parameters in a message by the running command's flags, for commands that print several errors."""
    flags = _CURRENT_FLAGS.get()
    return message if flags is None else flags.insert_into(message)


class FlagFormatter(EscapingLogFormatter):
    """A log formatter that replaces parameters by the flags of a command."""

    def __init__(self, flags: CommandFlags):
        super().__init__()
        self.flags = flags

    def format(self, record: logging.LogRecord) -> str:
        """Return the formatted line with flags."""
        return self.flags.insert_into(super().format(record))


def _longest_flag(names: Sequence[str]) -> str:
    return max(names, key=len)


def _format_switch(option: TyperOption, value: str | None) -> str | None:
    """Return `--activate` or `--no-activate`; None for a switch without a negative flag."""
    if value != "False":
        return _longest_flag(option.opts)
    return _longest_flag(option.secondary_opts) if option.secondary_opts else None


def _quote_value(value: str) -> str:
    """Convert a Python literal to the form that a shell accepts."""
    try:
        literal = ast.literal_eval(value)
    except (ValueError, SyntaxError):  # nan, or a placeholder such as FIELD
        return value
    text = _join_values(literal)
    return shlex.quote(text) if text.isprintable() else value


def _join_values(value: Any) -> str:
    """Join several values in the form of one option: `a,b`, or `name=value,…`."""
    if isinstance(value, Mapping):
        return ",".join(f"{name}={_join_values(item)}" for name, item in value.items())
    return ",".join(map(_join_values, value)) if isinstance(value, list | tuple) else str(value)
