"""Write the help page of every command into docs/cli.md, between the markers; `--check` only says whether it is there.

    python docs/generate_cli.py [--check]

The pages are rendered 100 columns wide and without colours, whatever the terminal is. They look as the installed typer
and rich draw them, so a new version of either may call for a new docs/cli.md.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

# Before typer is imported, which reads them once.
for name in ("FORCE_COLOR", "GITHUB_ACTIONS", "PY_COLORS"):
    os.environ.pop(name, None)
os.environ |= {"TERMINAL_WIDTH": "100", "COLUMNS": "100", "NO_COLOR": "1", "TERM": "dumb"}

from typer.main import get_command  # noqa: E402
from typer.testing import CliRunner  # noqa: E402

from softprompt.cli.main import app  # noqa: E402

PAGE = Path(__file__).with_name("cli.md")
BEGIN, END = "<!-- generated: begin -->\n", "<!-- generated: end -->\n"


def help_pages() -> str:
    """Every command's help in Markdown, the program's own first, in the order that it lists them."""
    commands = paths(get_command(app))
    sections = [f"## `{' '.join(['softprompt', *command])}`\n\n{help_page(*command)}" for command in [(), *commands]]
    return "\n".join(sections)


def paths(command: Any, above: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """The words of every command below one: a command that only groups others is left out."""
    below: dict[str, Any] = getattr(command, "commands", {})
    return [path for name, each in below.items() for path in paths(each, (*above, name)) or [(*above, name)]]


def help_page(*command: str) -> str:
    """What `softprompt COMMAND --help` prints, as a block."""
    result = CliRunner().invoke(app, [*command, "--help"], prog_name="softprompt")
    if result.exit_code:
        raise SystemExit(f"softprompt {' '.join(command)} --help failed: {result.output}")
    text = "\n".join(line.rstrip() for line in result.output.splitlines()).strip("\n")
    return f"```text\n{text}\n```\n"


def renewed(page: str) -> str:
    """The page with the help pages of today between its markers."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{help_pages()}\n{END}{after}"


def main() -> int:
    """Write the page, or check it."""
    page = PAGE.read_text("utf-8")
    new = renewed(page)
    if "--check" not in sys.argv[1:]:
        PAGE.write_text(new, "utf-8")
        return 0
    if new == page:
        return 0
    sys.stderr.write("docs/cli.md is not what --help prints: run  python docs/generate_cli.py\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())
