"""Prints the result of `softprompt tune`, as JSON and as text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from rich.markup import escape

from softprompt.cli.console import describe_never_predicted, format_percent, stdout_console

if TYPE_CHECKING:
    from softprompt.training import TuneResult


def summarize_result(result: TuneResult) -> dict[str, Any]:
    """Return the result as the JSON object that `--json` prints."""
    from softprompt.saved.foreign_files import TASKS_FOLDER

    return {
        "prompt": None if result.prompt is None else str(result.folder),
        "steps": result.steps,
        "seconds": round(result.seconds, 2),
        "useful_tokens_per_second": round(result.useful_tokens_per_second, 1),
        "best": result.best or None,
        "untrained_prompt": result.baselines.untrained_prompt,
        "hard_prompt": result.baselines.hard_prompt,
        **({"unpredicted_labels": list(result.unpredicted_labels)} if result.unpredicted_labels else {}),
        **(
            {"task_prompts": {name: str(result.folder / TASKS_FOLDER / name) for name in result.task_prompts}}
            if result.task_prompts
            else {}
        ),
    }


def print_result(result: TuneResult) -> None:
    """Print the result as text."""
    folder = escape(str(result.folder))
    if result.prompt is None:
        stdout_console.print(
            f"Stopped after step {result.steps}. Continue:  softprompt tune --output {folder} --resume"
        )
        return
    seconds, speed = f"{result.seconds:.0f} s", f"{result.useful_tokens_per_second:.0f} useful tokens/s"
    stdout_console.print(f"{result.steps} steps in {seconds} of training, {speed}.")
    if result.best:
        stdout_console.print(
            f"Best on the validation examples: {describe_metrics(result.best)} at step {result.best['step']}."
        )
    if result.unpredicted_labels:
        stdout_console.print(f"[yellow]{escape(describe_never_predicted(result.unpredicted_labels))}[/]")
    if baselines := _describe_baselines(result):
        stdout_console.print(f"Baselines on the same examples: {baselines}.")
    stdout_console.print(f"Saved in [bold]{folder}[/]; loss plot and metrics in {folder}.run.")
    if result.task_prompts:
        print_task_results(result)
        return
    from softprompt.tasks.task import COMMAND_BY_TASK_KIND

    command = COMMAND_BY_TASK_KIND[result.prompt.manifest.task.kind]
    text = {"generate": '--prompt "…"', "extract": '--question "…" --context "…"'}.get(command, '"…"')
    stdout_console.print(
        f"Next:  softprompt evaluate {folder} --data TEST.jsonl   or   softprompt {command} {folder} {text}"
    )


def _describe_baselines(result: TuneResult) -> str:
    """Describe the metrics of the untrained prompt and of the hard prompt."""
    baselines = (
        ("untrained prompt", result.baselines.untrained_prompt),
        ("hard prompt", result.baselines.hard_prompt),
    )
    return ", ".join(f"{name} {_format_headline_metric(metrics)}" for name, metrics in baselines if metrics)


def _format_headline_metric(metrics: Mapping[str, float]) -> str:
    name, value = next(iter(metrics.items()))
    shown = f"{value:.2f}" if "majority" not in metrics else format_percent(value)
    return f"{format_percent(value)} accuracy" if name == "accuracy" else f"{name.replace('_', ' ')} {shown}"


def describe_metrics(metrics: Mapping[str, Any]) -> str:
    """Describe metrics in words. For imbalanced labels this includes the accuracy of the most frequent label."""
    if "majority" in metrics:
        return (
            f"macro F1 {format_percent(metrics['macro_f1'])} ({format_percent(metrics['accuracy'])} accuracy; always predicting the most "
            f"frequent label has {format_percent(metrics['majority'])})"
        )
    if "accuracy" in metrics:
        return f"{format_percent(metrics['accuracy'])} accuracy"
    name, value = next((name, value) for name, value in metrics.items() if name != "step")
    return f"{name} {value:.2f}"


def print_task_results(result: TuneResult) -> None:
    """Print the folder and the validation metrics of each task's prompt."""
    from softprompt.saved.foreign_files import TASKS_FOLDER

    for name, saved_prompt in result.task_prompts.items():
        validation_metrics = saved_prompt.manifest.metrics.get("validation", {})
        metrics = "  ".join(f"{n} {v:.4g}" for n, v in validation_metrics.items()) or "no validation examples"
        stdout_console.print(f"  {escape(str(result.folder / TASKS_FOLDER / name))}  {metrics}")
    folder = escape(str(result.folder))
    stdout_console.print(
        f"Initialize a new task from their shared prompt:  softprompt tune --method prompt --init prompt:{folder} …"
    )
