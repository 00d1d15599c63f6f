"""`softprompt distil`: turns a text in front of every input into a few virtual tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from softprompt.cli.console import print_json
from softprompt.cli.distil_result_printer import print_result, summarize_result
from softprompt.cli.option_parser import parse_options
from softprompt.cli.options import ConfigOption, JsonOption, OverwriteOption, ReportToOption
from softprompt.cli.run_callbacks import open_run_callbacks
from softprompt.cli.settings_resolution import read_tracker_name, resolve_settings

if TYPE_CHECKING:
    from softprompt.distillation import DistillResult, DistillSettings


def distil_command(
    context: typer.Context,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume", help="Resume the run of OUTPUT from its folder, with its settings.", rich_help_panel="Run"
        ),
    ] = False,
    overwrite: OverwriteOption = False,
    config: ConfigOption = None,
    force: Annotated[
        bool,
        typer.Option("--force", help="Continue although the teacher is no better than chance.", rich_help_panel="Run"),
    ] = False,
    report_to: ReportToOption = None,
    as_json: JsonOption = False,
) -> None:
    r"""Turn a text in front of every input into a few virtual tokens: an instruction, examples, or a document.

    The model behind the whole text answers the inputs of --data, and the virtual tokens learn its answers. With
    --num-virtual-tokens all, the text's own keys and values are kept, exactly and without training.

        softprompt distil --context system.txt --data inputs.jsonl --output prompts/tone

    The result is a saved prompt as `tune` writes it. Requests no longer contain the text. OUTPUT.run has the report, with
    a picture: what the virtual tokens recover of the text, beside the text cut to this length and a summary.
    """
    from softprompt.distillation import DistillSettings

    settings = resolve_settings(DistillSettings, parse_options(context.obj), config, resume)
    report_to = report_to or read_tracker_name(DistillSettings, config)
    result = distil_with_progress(settings, resume=resume, overwrite=overwrite, force=force, report_to=report_to)
    if as_json:
        print_json(summarize_result(result))
    else:
        print_result(result)


def distil_with_progress(
    settings: DistillSettings,
    *,
    resume: bool = False,
    overwrite: bool = False,
    force: bool = False,
    report_to: str | None = None,
) -> DistillResult:
    """Distil a text with a progress bar, and with a tracker if `report_to` names one."""
    from softprompt.distillation import distil_from_settings

    with open_run_callbacks(settings, report_to) as (callbacks, bar):
        return distil_from_settings(
            settings, None, callbacks, bar.on_progress, resume=resume, overwrite=overwrite, force=force
        )
