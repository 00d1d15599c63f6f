"""What became of a run of `softprompt tune`: for scripts, and for people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from rich.markup import escape

from softprompt.cli.output import never, people, percent

if TYPE_CHECKING:
    from softprompt.training import Tuned


def summary(tuned: Tuned) -> dict[str, Any]:
    """What --json prints."""
    from softprompt.saved.own_files import TASKS

    return {
        "prompt": None if tuned.prompt is None else str(tuned.folder),
        "steps": tuned.steps,
        "seconds": round(tuned.seconds, 2),
        "useful_tokens_per_second": round(tuned.useful_tokens_per_second, 1),
        "best": tuned.best or None,
        "start": tuned.baselines.start,
        "hard_prompt": tuned.baselines.hard_prompt,
        **({"never_answered": list(tuned.never_answered)} if tuned.never_answered else {}),
        **({"tasks": {name: str(tuned.folder / TASKS / name) for name in tuned.tasks}} if tuned.tasks else {}),
    }


def report(tuned: Tuned) -> None:
    """What people read."""
    folder = escape(str(tuned.folder))
    if tuned.prompt is None:
        people.print(f"Stopped after step {tuned.steps}. Go on:  softprompt tune --output {folder} --resume")
        return
    seconds, speed = f"{tuned.seconds:.0f} s", f"{tuned.useful_tokens_per_second:.0f} useful tokens/s"
    people.print(f"{tuned.steps} steps in {seconds} of training, {speed}.")
    if tuned.best:
        people.print(f"Best on the validation examples: {worth(tuned.best)}, at step {tuned.best['step']}.")
    if tuned.never_answered:
        people.print(f"[yellow]{escape(never(tuned.never_answered))}[/]")
    if beside := _beside(tuned):
        people.print(f"On the same examples: {beside}.")
    people.print(f"Saved in [bold]{folder}[/]; curve and figures in {folder}.run.")
    if tuned.tasks:
        report_tasks(tuned)
        return
    from softprompt.tasks.task import ASKED_WITH

    command = ASKED_WITH[tuned.prompt.manifest.task.kind]
    text = {"generate": '--prompt "…"', "extract": '--question "…" --context "…"'}.get(command, '"…"')
    people.print(f"Next:  softprompt evaluate {folder} --data TEST.jsonl   or   softprompt {command} {folder} {text}")


def _beside(tuned: Tuned) -> str:
    """What the same examples measured without training."""
    found = (("the untrained start", tuned.baselines.start), ("the hard prompt", tuned.baselines.hard_prompt))
    return ", ".join(f"{name} {_headline(metrics)}" for name, metrics in found if metrics)


def _headline(metrics: Mapping[str, float]) -> str:
    name, value = next(iter(metrics.items()))
    shown = f"{value:.2f}" if "majority" not in metrics else percent(value)
    return f"{percent(value)} right" if name == "accuracy" else f"{name.replace('_', ' ')} {shown}"


def worth(best: Mapping[str, Any]) -> str:
    """What an evaluation measured, in words; where labels are uneven, beside what the most frequent one is worth."""
    if "majority" in best:
        return (
            f"macro F1 {percent(best['macro_f1'])} ({percent(best['accuracy'])} right, and always answering the most "
            f"frequent label would be right on {percent(best['majority'])})"
        )
    if "accuracy" in best:
        return f"{percent(best['accuracy'])} right"
    name, value = next((name, value) for name, value in best.items() if name != "step")
    return f"{name} {value:.2f}"


def report_tasks(tuned: Tuned) -> None:
    """Where each task's own prompt is, and what it measured."""
    from softprompt.saved.own_files import TASKS

    for name, saved in tuned.tasks.items():
        measured = saved.manifest.metrics.get("validation", {})
        figures = "  ".join(f"{n} {v:.4g}" for n, v in measured.items()) or "no validation examples"
        people.print(f"  {escape(str(tuned.folder / TASKS / name))}  {figures}")
    folder = escape(str(tuned.folder))
    people.print(
        f"A new task can start from what they share:  softprompt tune --method prompt --init prompt:{folder} …"
    )
