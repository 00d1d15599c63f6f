"""The consoles of commands: one JSON object on standard output for scripts, or tables and text."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from softprompt.cli.safe_console import SafeConsole
from softprompt.cli.terminal_escapes import dump_json_line

#: Of several processes launched by accelerate or torchrun only the main one prints results. All of them print errors.
is_main_process = int(os.environ.get("RANK", "0")) == 0
stdout_console = SafeConsole(soft_wrap=True, highlight=False, emoji=False, quiet=not is_main_process)
stderr_console = SafeConsole(stderr=True, highlight=False, emoji=False, quiet=not is_main_process)


def print_json(value: Any) -> None:
    """Print one JSON object on one line."""
    if is_main_process:
        print(dump_json_line(value))  # noqa: T201


def format_percent(share: float) -> str:
    """Format a fraction as a percentage."""
    return f"{100 * share:.1f}%"


def describe_never_predicted(labels: Sequence[str], max_listed: int = 5) -> str:
    """Return a warning about labels that are never predicted, which metrics alone do not show."""
    names = ", ".join(map(repr, labels[:max_listed])) + (
        f" and {len(labels) - max_listed} more" if len(labels) > max_listed else ""
    )
    return f"The prompt never predicts {names}, although examples have this label."
