"""The program `softprompt`: registers the commands, and converts errors to messages and exit codes."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Sequence
from typing import Any

import typer
from rich.logging import RichHandler
from rich.markup import escape
from typer.exceptions import TyperException

from softprompt import __version__
from softprompt.cli.argument_validator import check_unicode
from softprompt.cli.classify_command import classify_command
from softprompt.cli.command_flags import CommandFlags, FlagFormatter, use_flags
from softprompt.cli.compare_command import compare_command
from softprompt.cli.compose_commands import compose_command, similarity_command
from softprompt.cli.data_commands import app as data_app
from softprompt.cli.demo_command import demo_command
from softprompt.cli.distil_command import distil_command
from softprompt.cli.evaluate_command import evaluate_command
from softprompt.cli.export_import_commands import export_command, import_command
from softprompt.cli.extract_command import extract_command
from softprompt.cli.generate_command import generate_command
from softprompt.cli.hub_commands import pull_command, push_command
from softprompt.cli.keys_commands import app as keys_app
from softprompt.cli.prompts_commands import app as prompts_app
from softprompt.cli.repeat_filter import RepeatFilter
from softprompt.cli.safe_console import SafeConsole
from softprompt.cli.serve_command import serve_command
from softprompt.cli.settings_command import DistillSettingsCommand, TuneSettingsCommand
from softprompt.cli.show_command import show_command
from softprompt.cli.sigterm_handler import EXIT_TERMINATED, SigtermReceived
from softprompt.cli.tag_command import tag_command
from softprompt.cli.terminal_escapes import escape_unprintable
from softprompt.cli.tune_command import tune_command
from softprompt.errors import SoftPromptError
from softprompt.log_formatter import EscapingLogFormatter

EXIT_USER_ERROR, EXIT_INTERNAL_ERROR, EXIT_INTERRUPTED = 2, 1, 130

app = typer.Typer(
    name="softprompt",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
    help="""Tune soft prompts on a frozen language model, and use them.

A soft prompt is a short sequence of virtual tokens in front of every text, trained on your examples. The model itself
does not change, so one copy of the model serves any number of prompts.

`softprompt demo` shows the workflow in a few minutes.""",
    epilog="""Exit codes: 0 success; 2 user error, explained by the message; 1 bug in softprompt.
`--debug` anywhere on the command line shows the traceback. `tune` reads settings from a TOML file: `--config run.toml`.""",
)

app.command("tune", cls=TuneSettingsCommand, rich_help_panel="Make")(tune_command)
app.command("distil", cls=DistillSettingsCommand, rich_help_panel="Make")(distil_command)
app.command("compare", rich_help_panel="Make")(compare_command)
app.command("demo", rich_help_panel="Make")(demo_command)
app.add_typer(data_app, rich_help_panel="Make")
app.command("evaluate", rich_help_panel="Use")(evaluate_command)
app.command("classify", rich_help_panel="Use")(classify_command)
app.command("generate", rich_help_panel="Use")(generate_command)
app.command("tag", rich_help_panel="Use")(tag_command)
app.command("extract", rich_help_panel="Use")(extract_command)
app.command("show", rich_help_panel="Inspect and exchange")(show_command)
app.command("similarity", rich_help_panel="Inspect and exchange")(similarity_command)
app.command("compose", rich_help_panel="Inspect and exchange")(compose_command)
app.command("export", rich_help_panel="Inspect and exchange")(export_command)
app.command("import", rich_help_panel="Inspect and exchange")(import_command)
app.command("push", rich_help_panel="Inspect and exchange")(push_command)
app.command("pull", rich_help_panel="Inspect and exchange")(pull_command)
app.add_typer(prompts_app, rich_help_panel="Store and serve")
app.command("serve", rich_help_panel="Store and serve")(serve_command)
app.add_typer(keys_app, rich_help_panel="Store and serve")


def print_version(requested: bool) -> bool:
    """Print the version and exit, if requested."""
    if requested:
        typer.echo(f"softprompt {__version__}")
        raise typer.Exit
    return requested


@app.callback()
def root_callback(
    version: bool = typer.Option(False, "--version", help="Print the version.", is_eager=True, callback=print_version),
) -> None:
    """Accept the options in front of a command."""


def main() -> None:
    """Run the console script `softprompt`."""
    sys.exit(run_cli(sys.argv[1:]))


def run_cli(arguments: Sequence[str]) -> int:
    """Run a command line and return its exit code."""
    escape_unprintable()
    debug = "--debug" in arguments
    command_line = [argument for argument in arguments if argument != "--debug"]
    errors = SafeConsole(stderr=True, emoji=False)
    command: Any = typer.main.get_command(app)
    flags = CommandFlags.from_arguments(command, command_line)
    _configure_logging(errors, flags)
    try:
        check_unicode(arguments)
        with use_flags(flags):
            code = command(command_line, prog_name="softprompt", standalone_mode=False)
        sys.stdout.flush()
    except (SoftPromptError, TyperException) as error:
        if debug:
            errors.print_exception()
        message = error.format_message() if isinstance(error, TyperException) else flags.insert_into(str(error))
        if message:  # empty if help was printed because no command was given
            errors.print(f"[bold red]error:[/] {escape(message)}", soft_wrap=True, highlight=False)
        return EXIT_USER_ERROR
    except (KeyboardInterrupt, typer.Abort):
        errors.print("interrupted")
        return EXIT_INTERRUPTED
    except SigtermReceived as error:
        errors.print(f"stopped {error} by SIGTERM")
        return EXIT_TERMINATED
    except (BrokenPipeError, SystemExit):
        # The reader closed the pipe (`softprompt … | head`), for which typer exits. Python would report it again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        if debug:
            errors.print_exception()
        errors.print(f"[bold red]internal error:[/] {type(error).__name__}: {escape(str(error))}", soft_wrap=True)
        errors.print("This is a bug in softprompt. Please report it with the output of  --debug.")
        return EXIT_INTERNAL_ERROR
    if code == EXIT_INTERRUPTED:  # typer converts Ctrl-C to this code
        errors.print("interrupted")
    return int(code or 0)


def _configure_logging(console: SafeConsole, flags: CommandFlags) -> None:
    """Send softprompt's log to standard error as plain messages, and escape control characters in all log lines."""
    handler = RichHandler(console=console, show_time=False, show_level=False, show_path=False, highlighter=None)
    handler.setFormatter(FlagFormatter(flags))
    handler.addFilter(RepeatFilter())
    if logging.lastResort is not None:  # used by uvicorn, asyncio and other libraries
        logging.lastResort.setFormatter(EscapingLogFormatter())
    logger = logging.getLogger("softprompt")
    logger.handlers[:] = [handler]
    logger.setLevel(logging.INFO)
    logger.propagate = False
