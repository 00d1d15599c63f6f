"""`softprompt tune` with `--sweep` or `--tasks`: many prompts in one run."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.markup import escape
from rich.table import Table

from softprompt.cli.flags import with_flags
from softprompt.cli.output import notes, people, print_json
from softprompt.cli.parsing import unescaped
from softprompt.cli.progress_table import ProgressTable
from softprompt.cli.tuned import summary
from softprompt.errors import SettingError

if TYPE_CHECKING:
    from softprompt.training import Tuned, TuneSettings
    from softprompt.training.many import Failed


def runs_of(
    told: Mapping[str, Any], typed: Mapping[str, Any], sweep: list[str] | None, tasks: Path | None
) -> dict[str, TuneSettings]:
    """The runs that a command line names: `told` by a file of settings, `typed` with the last word.

    Raises:
        SettingError: both a sweep and tasks, or either cannot be.
        DataError: the file of tasks cannot be read.
    """
    from softprompt.training.sweep import runs_of_sweep, runs_of_tasks, swept

    if sweep and tasks is not None:
        raise SettingError("--sweep and --tasks: one of them at a time")
    if tasks is not None:
        return runs_of_tasks(told, tasks, typed)
    values = swept(",".join(sweep or ()))
    if "template" in values:
        values["template"] = [unescaped(template) for template in values["template"]]
    return runs_of_sweep({**told, **typed}, values)


def tune_many(
    runs: Mapping[str, TuneSettings], *, ray: bool, resume: bool, overwrite: bool, rank: bool, as_json: bool
) -> None:
    """Run them together, and print what became of each.

    Args:
        runs: the settings of each, by its name.
        ray: on a Ray cluster, not in this process.
        resume: go on with those that began.
        overwrite: replace what is there.
        rank: put the best first, where all have one task.
        as_json: print for scripts.

    Raises:
        SoftPromptError: none could begin, or some failed; the others are saved.
    """
    from softprompt.training.cluster import run_on_cluster
    from softprompt.training.many import Failed, run_together

    run = run_on_cluster if ray else run_together
    with ProgressTable(notes, list(runs)).listening() as table, _without_details():
        ended = run(runs, watcher=table.lines.__getitem__, resume=resume, overwrite=overwrite)
    if rank:
        ended = dict(sorted(ended.items(), key=lambda each: _rank(each[1]), reverse=True))
    if as_json:
        print_json({"runs": {name: _summary(each) for name, each in ended.items()}})
    else:
        _report(ended)
    if failed := {name: each.error for name, each in ended.items() if isinstance(each, Failed)}:
        name, error = next(iter(failed.items()))
        error.args = (f"{len(failed)} of {len(ended)} runs failed; {name}: {error}",)
        raise error


@contextmanager
def _without_details() -> Iterator[None]:
    """What one run says of its start would be a page of fifty; each run's own `run.json` has it."""
    logger = logging.getLogger("softprompt")
    before = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(before)


def _rank(ended: Tuned | Failed) -> tuple[float, ...]:
    return getattr(ended, "quality", ())


def _summary(ended: Tuned | Failed) -> dict[str, Any]:
    from softprompt.training.many import Failed

    return {"error": with_flags(str(ended.error))} if isinstance(ended, Failed) else summary(ended)


def _report(ended: Mapping[str, Tuned | Failed]) -> None:
    from softprompt.training.many import Failed

    table = Table("run", "steps", "best on validation", "prompt")
    for name, each in ended.items():
        if isinstance(each, Failed):
            table.add_row(escape(name), "–", f"[red]{escape(with_flags(str(each.error)))}[/]", "–")
            continue
        best = {figure: value for figure, value in each.best.items() if figure != "step"}
        figures = "  ".join(f"{figure} {value:.4g}" for figure, value in best.items())
        where = "stopped; go on with --resume" if each.prompt is None else escape(str(each.folder))
        table.add_row(escape(name), str(each.steps), f"{figures}  at step {each.best['step']}" if best else "–", where)
    people.print(table)
