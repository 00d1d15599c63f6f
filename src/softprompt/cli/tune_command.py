"""`softprompt tune`: trains a prompt on examples."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from softprompt.cli.console import print_json
from softprompt.cli.option_parser import parse_options
from softprompt.cli.options import ConfigOption, JsonOption, OverwriteOption, ReportToOption
from softprompt.cli.run_callbacks import open_run_callbacks
from softprompt.cli.settings_resolution import read_config_settings, read_tracker_name, resolve_settings
from softprompt.cli.tune_report import print_result, summarize_result
from softprompt.errors import SettingError

if TYPE_CHECKING:
    from softprompt.training import TuneResult, TuneSettings


def tune_command(
    context: typer.Context,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume",
            help="Resume the run of OUTPUT from its last checkpoint, with its settings.",
            rich_help_panel="Run",
        ),
    ] = False,
    overwrite: OverwriteOption = False,
    config: ConfigOption = None,
    sweep: Annotated[
        list[str] | None,
        typer.Option(
            help="Train a prompt for each combination: lr=0.01,0.003,seed=0,1,2. Each prompt gets a folder in OUTPUT.",
            rich_help_panel="Run",
            show_default=False,
        ),
    ] = None,
    tasks: Annotated[
        Path | None,
        typer.Option(
            help="Train a prompt for each table \\[tasks.NAME] of a TOML file. Each prompt gets a folder in OUTPUT.",
            rich_help_panel="Run",
        ),
    ] = None,
    ray: Annotated[
        bool,
        typer.Option(
            "--ray",
            help="Distribute the runs of --sweep or --tasks over a Ray cluster: RAY_ADDRESS, or a local one.",
            rich_help_panel="Run",
        ),
    ] = False,
    report_to: ReportToOption = None,
    as_json: JsonOption = False,
) -> None:
    r"""Train a soft prompt on examples and save it.

    Example: classify reviews, in a few minutes on two cores.

        softprompt tune --data train.jsonl --validation val.jsonl --output prompts/reviews
            --template 'Review: {text}\nSentiment:' --labels negative,positive

    The command saves the prompt of the step with the best validation result in OUTPUT. OUTPUT.run contains metrics.jsonl,
    the resolved settings, a plot of the loss, and the checkpoint for --resume.
    """
    from softprompt.training.tune_settings import TuneSettings

    options = parse_options(context.obj)
    if sweep or tasks is not None:
        from softprompt.cli.tune_many_command import plan_runs, tune_many

        if report_to is not None:
            raise SettingError("--report-to logs a single run: remove it, or remove --sweep and --tasks")
        runs = plan_runs(read_config_settings(TuneSettings, config), options, sweep, tasks)
        tune_many(runs, ray=ray, resume=resume, overwrite=overwrite, best_first=tasks is None, as_json=as_json)
        return
    if ray:
        raise SettingError("--ray distributes several runs: pass --sweep or --tasks")
    settings = resolve_settings(TuneSettings, options, config, resume)
    report_to = report_to or read_tracker_name(TuneSettings, config)
    result = run_with_progress(settings, resume=resume, overwrite=overwrite, report_to=report_to)
    if as_json:
        print_json(summarize_result(result))
    else:
        print_result(result)


def run_with_progress(
    settings: TuneSettings, *, resume: bool = False, overwrite: bool = False, report_to: str | None = None
) -> TuneResult:
    """Train a prompt with a progress bar, and with a tracker if `report_to` names one."""
    from softprompt.training import tune_from_settings

    with open_run_callbacks(settings, report_to) as (callbacks, _):
        return tune_from_settings(settings, callback=callbacks, resume=resume, overwrite=overwrite)
