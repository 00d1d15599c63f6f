"""Write the help page of every command to docs/cli.md, between the markers. `--check` only compares.

    python docs/generate_cli.py [--check]

The pages have 100 columns and no colors, independent of the terminal. Their layout depends on the installed versions of
typer and rich, so a new version of either may require a new docs/cli.md.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

# Set before typer is imported, which reads them once.
for name in ("FORCE_COLOR", "GITHUB_ACTIONS", "PY_COLORS"):
    os.environ.pop(name, None)
os.environ |= {"TERMINAL_WIDTH": "100", "COLUMNS": "100", "NO_COLOR": "1", "TERM": "dumb"}

from typer.main import get_command  # noqa: E402
from typer.testing import CliRunner  # noqa: E402

from softprompt.cli.main import app  # noqa: E402

CLI_PAGE = Path(__file__).with_name("cli.md")
BEGIN_MARKER, END_MARKER = "<!-- generated: begin -->\n", "<!-- generated: end -->\n"


def render_help_pages() -> str:
    """Return the help of every command in Markdown: the program first, then the commands in their listed order."""
    commands = list_command_paths(get_command(app))
    sections = [
        f"## `{' '.join(['softprompt', *command])}`\n\n{render_help_page(*command)}" for command in [(), *commands]
    ]
    return "\n".join(sections)


def list_command_paths(command: Any, parents: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """List the paths of all commands below a command. Groups are not listed themselves."""
    subcommands: dict[str, Any] = getattr(command, "commands", {})
    return [
        path
        for name, subcommand in subcommands.items()
        for path in list_command_paths(subcommand, (*parents, name)) or [(*parents, name)]
    ]


def render_help_page(*command: str) -> str:
    """Return the output of `softprompt COMMAND --help` as a fenced block."""
    result = CliRunner().invoke(app, [*command, "--help"], prog_name="softprompt")
    if result.exit_code:
        raise SystemExit(f"softprompt {' '.join(command)} --help failed: {result.output}")
    text = "\n".join(line.rstrip() for line in result.output.splitlines()).strip("\n")
    return f"```text\n{text}\n```\n"


def update_page(page: str) -> str:
    """Return the page with current help pages between its markers."""
    before, _, rest = page.partition(BEGIN_MARKER)
    _, _, after = rest.partition(END_MARKER)
    return f"{before}{BEGIN_MARKER}\n{render_help_pages()}\n{END_MARKER}{after}"


def main() -> int:
    """Write the page, or compare it for `--check`."""
    page = CLI_PAGE.read_text("utf-8")
    updated = update_page(page)
    if "--check" not in sys.argv[1:]:
        CLI_PAGE.write_text(updated, "utf-8")
        return 0
    if updated == page:
        return 0
    sys.stderr.write("docs/cli.md is out of date: run  python docs/generate_cli.py\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())
