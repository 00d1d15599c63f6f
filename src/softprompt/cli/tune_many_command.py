"""`softprompt tune` with `--sweep` or `--tasks`: trains several prompts together."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.markup import escape
from rich.table import Table

from softprompt.cli.command_flags import insert_flags
from softprompt.cli.console import print_json, stderr_console, stdout_console
from softprompt.cli.option_parser import unescape_template
from softprompt.cli.progress_table import ProgressTable
from softprompt.cli.tune_report import summarize_result
from softprompt.errors import SettingError

if TYPE_CHECKING:
    from softprompt.training import TuneResult, TuneSettings
    from softprompt.training.concurrent_runs import RunFailure


def plan_runs(
    config_settings: Mapping[str, Any], options: Mapping[str, Any], sweep: list[str] | None, tasks: Path | None
) -> dict[str, TuneSettings]:
    """Return the settings of every run, by run name.

    Args:
        config_settings: settings from the TOML file of `--config`.
        options: settings from the command line, which override the file.
        sweep: values of `--sweep`.
        tasks: path of the TOML file of `--tasks`.

    Raises:
        SettingError: both `sweep` and `tasks` are given, or one of them is invalid.
        DataError: the file of tasks cannot be read.
    """
    from softprompt.training.sweep import expand_sweep, load_runs_from_toml, parse_sweep

    if sweep and tasks is not None:
        raise SettingError("--sweep and --tasks exclude each other: pass one of them")
    if tasks is not None:
        return load_runs_from_toml(config_settings, tasks, options)
    values = parse_sweep(",".join(sweep or ()))
    if "template" in values:
        values["template"] = [unescape_template(template) for template in values["template"]]
    return expand_sweep({**config_settings, **options}, values)


def tune_many(
    runs: Mapping[str, TuneSettings], *, ray: bool, resume: bool, overwrite: bool, best_first: bool, as_json: bool
) -> None:
    """Train all runs together, and print their results.

    Args:
        runs: settings by run name.
        ray: whether to use a Ray cluster instead of this process.
        resume: whether to continue unfinished runs from their checkpoints.
        overwrite: whether to replace existing prompts and runs.
        best_first: whether to sort the results by selection key; requires one task for all runs.
        as_json: whether to print JSON.

    Raises:
        SoftPromptError: no run could start, or some runs failed. The prompts of the other runs are saved.
    """
    from softprompt.training.cluster import tune_on_cluster
    from softprompt.training.concurrent_runs import RunFailure, tune_concurrently

    tune_runs = tune_on_cluster if ray else tune_concurrently
    with ProgressTable(stderr_console, list(runs)).show_live() as table, _quiet_logging():
        results = tune_runs(runs, make_callback=table.run_lines.__getitem__, resume=resume, overwrite=overwrite)
    if best_first:
        results = dict(sorted(results.items(), key=lambda item: _selection_key(item[1]), reverse=True))
    if as_json:
        print_json({"runs": {name: _result_json(result) for name, result in results.items()}})
    else:
        _print_results(results)
    if failed := {name: result.error for name, result in results.items() if isinstance(result, RunFailure)}:
        name, error = next(iter(failed.items()))
        raise error.with_message(f"{len(failed)} of {len(results)} runs failed; {name}: {error}") from error


@contextmanager
def _quiet_logging() -> Iterator[None]:
    """Hide notes below warnings: many runs would repeat the same notes. Each `run.json` has them."""
    logger = logging.getLogger("softprompt")
    previous_level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(previous_level)


def _selection_key(result: TuneResult | RunFailure) -> tuple[float, ...]:
    from softprompt.training import TuneResult

    return result.selection_key if isinstance(result, TuneResult) else ()


def _result_json(result: TuneResult | RunFailure) -> dict[str, Any]:
    from softprompt.training.concurrent_runs import RunFailure

    return {"error": insert_flags(str(result.error))} if isinstance(result, RunFailure) else summarize_result(result)


def _print_results(results: Mapping[str, TuneResult | RunFailure]) -> None:
    from softprompt.training.concurrent_runs import RunFailure

    table = Table("run", "steps", "best on validation", "prompt")
    for name, result in results.items():
        if isinstance(result, RunFailure):
            table.add_row(escape(name), "–", f"[red]{escape(insert_flags(str(result.error)))}[/]", "–")
            continue
        best_metrics = {metric: value for metric, value in result.best.items() if metric != "step"}
        metrics = "  ".join(f"{metric} {value:.4g}" for metric, value in best_metrics.items())
        prompt = "stopped; continue with --resume" if result.prompt is None else escape(str(result.folder))
        best = f"{metrics}  at step {result.best['step']}" if best_metrics else "–"
        table.add_row(escape(name), str(result.steps), best, prompt)
    stdout_console.print(table)
