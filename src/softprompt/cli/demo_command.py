"""`softprompt demo`: trains, evaluates and uses a prompt on data in the package."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from softprompt.cli.console import format_percent, print_json, stderr_console, stdout_console
from softprompt.cli.options import JsonOption
from softprompt.cli.progress_lines import show_activity

TEMPLATE = "Customer: {text}\nThe customer writes about:"
MESSAGES = (
    "the courier says delivered but there is nothing at my door",
    "why do I see two identical charges on my card for one order?",
    "does the rain jacket run small, and is there one without a hood",
)


def demo_command(
    output: Annotated[Path, typer.Option(help="Folder for the saved prompt.")] = Path("prompts/support"),
    max_steps: Annotated[int, typer.Option(min=1, help="Number of training steps.")] = 72,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing prompt.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Train the bundled model to classify customer-support messages, in a few minutes, and compare before and after.

    The data has six intents: 240 training, 60 validation and 60 test messages. Data and model are in the package, so
    nothing is downloaded.
    """
    from softprompt.cli.classify_command import print_predictions
    from softprompt.cli.tune_command import run_with_progress
    from softprompt.data import read_examples
    from softprompt.evaluation import classify, evaluate
    from softprompt.model import load_model
    from softprompt.training import TuneSettings

    data = Path(str(files("softprompt") / "demo"))
    settings = TuneSettings(
        data=data / "messages.train.jsonl",
        validation=data / "messages.validation.jsonl",
        output=output,
        template=TEMPLATE,
        method="prefix",
        num_virtual_tokens=120,
        max_steps=max_steps,
        batch_size=16,
    )
    if not as_json:
        stdout_console.print(
            "Training a prompt for [bold]smollm2-135m[/]: six intents of customer messages. The model does not change."
        )
    tuned = run_with_progress(settings, overwrite=overwrite)
    if tuned.prompt is None:
        stdout_console.print("Stopped before the end: no prompt was saved.")
        return
    with show_activity(stderr_console, "evaluating on unseen messages") as activity:
        model = load_model(settings.model)
        metrics = evaluate(
            model, tuned.prompt, read_examples(data / "messages.test.jsonl"), on_progress=activity.on_progress
        )
        predictions = classify(model, tuned.prompt, MESSAGES)
    before, after = metrics["hard_prompt"]["accuracy"], metrics["accuracy"]
    if as_json:
        results = [vars(prediction) for prediction in predictions]
        print_json(
            {
                "prompt": str(output),
                "hard_prompt_accuracy": before,
                "soft_prompt_accuracy": after,
                "results": results,
            }
        )
        return
    stdout_console.print(f"\naccuracy before, hard prompt: [bold]{format_percent(before)}[/]")
    stdout_console.print(f"accuracy after, soft prompt:  [bold]{format_percent(after)}[/]\n")
    print_predictions(predictions)
    folder = escape(str(output))
    stdout_console.print(f"\nThe prompt is in [bold]{folder}[/], the plot of its loss in {folder}.run/loss.png. Next:")
    stdout_console.print(f'  softprompt classify {folder} "my parcel never arrived"')
    stdout_console.print(f"  softprompt show {folder}")
    stdout_console.print("  softprompt tune --help        to train on your own data")
