"""The program `softprompt`: its commands, and what becomes of errors."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Sequence

import typer
from rich.logging import RichHandler
from rich.markup import escape
from typer.exceptions import TyperException

from softprompt import __version__
from softprompt.cli.classify import classify
from softprompt.cli.compare import compare
from softprompt.cli.compose import compose, similarity
from softprompt.cli.console import SafeConsole
from softprompt.cli.data import app as data
from softprompt.cli.demo import demo
from softprompt.cli.evaluate import evaluate
from softprompt.cli.exchange import export, import_
from softprompt.cli.extract import extract
from softprompt.cli.flags import FlagFormatter, Flags, running
from softprompt.cli.generate import generate
from softprompt.cli.hub import pull, push
from softprompt.cli.keys import app as keys
from softprompt.cli.prompts import app as prompts
from softprompt.cli.repeat_filter import RepeatFilter
from softprompt.cli.serve import serve
from softprompt.cli.show import show
from softprompt.cli.tag import tag
from softprompt.cli.terminal import escape_unprintable
from softprompt.cli.termination import EXIT_CODE as TERMINATED
from softprompt.cli.termination import Terminated
from softprompt.cli.tune import tune
from softprompt.cli.typed import check_unicode
from softprompt.errors import SoftPromptError
from softprompt.log_lines import LineFormatter

USER_ERROR, OUR_ERROR, INTERRUPTED = 2, 1, 130

app = typer.Typer(
    name="softprompt",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
    help="""Tune soft prompts on a frozen language model, and use them.

A soft prompt is a handful of virtual tokens, trained on your examples, that stand in front of every text. The model
itself never changes, so one copy of it serves any number of prompts.

`softprompt demo` shows all of it in a few minutes.""",
    epilog="""Exit code 0: done; 2: something to mend, and the message says what; 1: a fault of ours.
`--debug` anywhere on the line shows the traceback. Settings of `tune` can stand in a TOML file: `--config run.toml`.""",
)

app.command(rich_help_panel="Make")(tune)
app.command(rich_help_panel="Make")(compare)
app.command(rich_help_panel="Make")(demo)
app.add_typer(data, rich_help_panel="Make")
app.command(rich_help_panel="Use")(evaluate)
app.command(rich_help_panel="Use")(classify)
app.command(rich_help_panel="Use")(generate)
app.command(rich_help_panel="Use")(tag)
app.command(rich_help_panel="Use")(extract)
app.command(rich_help_panel="Look and exchange")(show)
app.command(rich_help_panel="Look and exchange")(similarity)
app.command(rich_help_panel="Look and exchange")(compose)
app.command(rich_help_panel="Look and exchange")(export)
app.command("import", rich_help_panel="Look and exchange")(import_)
app.command(rich_help_panel="Look and exchange")(push)
app.command(rich_help_panel="Look and exchange")(pull)
app.add_typer(prompts, rich_help_panel="Keep and serve")
app.command(rich_help_panel="Keep and serve")(serve)
app.add_typer(keys, rich_help_panel="Keep and serve")


def print_version(wanted: bool) -> bool:
    """Print the version and be done, if it is wanted."""
    if wanted:
        typer.echo(f"softprompt {__version__}")
        raise typer.Exit
    return wanted


@app.callback()
def options(
    version: bool = typer.Option(False, "--version", help="Print the version.", is_eager=True, callback=print_version),
) -> None:
    """Options in front of any command."""


def main() -> None:
    """The console script."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    """Run a command line and return its exit code."""
    escape_unprintable()
    debug = "--debug" in arguments
    typed = [argument for argument in arguments if argument != "--debug"]
    errors = SafeConsole(stderr=True, emoji=False)
    flags = Flags.of(app, typed)
    _log_to(errors, flags)
    try:
        check_unicode(arguments)
        with running(flags):
            code = app(typed, prog_name="softprompt", standalone_mode=False)
        sys.stdout.flush()
    except (SoftPromptError, TyperException) as error:
        if debug:
            errors.print_exception()
        message = error.format_message() if isinstance(error, TyperException) else flags.put_in(str(error))
        if message:  # help that was printed for want of a command is message enough
            errors.print(f"[bold red]error:[/] {escape(message)}", soft_wrap=True, highlight=False)
        return USER_ERROR
    except (KeyboardInterrupt, typer.Abort):
        errors.print("interrupted")
        return INTERRUPTED
    except Terminated as error:
        errors.print(f"stopped {error}, by SIGTERM")
        return TERMINATED
    except (BrokenPipeError, SystemExit):
        # The reader went away (`softprompt … | head`); typer exits for that. Python would complain once more when it closes the pipe.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        if debug:
            errors.print_exception()
        errors.print(f"[bold red]internal error:[/] {type(error).__name__}: {escape(str(error))}", soft_wrap=True)
        errors.print("This is a fault in softprompt: please report it with what  --debug  prints.")
        return OUR_ERROR
    if code == INTERRUPTED:  # what typer makes of Ctrl-C
        errors.print("interrupted")
    return int(code or 0)


def _log_to(console: SafeConsole, flags: Flags) -> None:
    """Send softprompt's own notes to standard error, without the furniture of a log; others' lines are escaped too."""
    handler = RichHandler(console=console, show_time=False, show_level=False, show_path=False, highlighter=None)
    handler.setFormatter(FlagFormatter(flags))
    handler.addFilter(RepeatFilter())
    if logging.lastResort is not None:  # by which uvicorn, asyncio and other libraries complain
        logging.lastResort.setFormatter(LineFormatter())
    logger = logging.getLogger("softprompt")
    logger.handlers[:] = [handler]
    logger.setLevel(logging.INFO)
    logger.propagate = False
