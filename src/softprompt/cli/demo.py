"""`softprompt demo`: the whole job on data that comes with the package."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from softprompt.cli.output import Json, notes, people, percent, print_json
from softprompt.cli.progress_lines import busy

TEMPLATE = "Customer: {text}\nThe customer writes about:"
MESSAGES = (
    "the courier says delivered but there is nothing at my door",
    "why do I see two identical charges on my card for one order?",
    "does the rain jacket run small, and is there one without a hood",
)


def demo(
    output: Annotated[Path, typer.Option(help="The folder for the saved prompt.")] = Path("prompts/support"),
    steps: Annotated[int, typer.Option(min=1, help="Updates in all.")] = 72,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a prompt that is there.")] = False,
    as_json: Json = False,
) -> None:
    """Teach the embedded model to sort customer-support messages, in a few minutes, and see what that changes.

    240 messages to learn from, 60 to choose the best step by, 60 that it has never seen to measure on; six intents. They
    come with the package; nothing is downloaded.
    """
    from softprompt.cli.classify import print_predictions
    from softprompt.cli.tune import run_watched
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
        virtual_tokens=120,
        steps=steps,
        batch_size=16,
    )
    if not as_json:
        people.print(
            "Teaching [bold]smollm2-135m[/] to sort customer messages into six intents. The model stays as it is."
        )
    tuned = run_watched(settings, overwrite=overwrite)
    if tuned.prompt is None:
        people.print("Stopped before the end: nothing was saved.")
        return
    with busy(notes, "measuring on messages it has never seen") as activity:
        model = load_model(settings.model)
        figures = evaluate(
            model, tuned.prompt, read_examples(data / "messages.test.jsonl"), on_progress=activity.follow
        )
        found = classify(model, tuned.prompt, MESSAGES)
    before, after = figures["hard_prompt"]["accuracy"], figures["accuracy"]
    if as_json:
        print_json({"prompt": str(output), "before": before, "after": after, "results": [vars(p) for p in found]})
        return
    people.print(f"\nbefore, hard prompt alone:  [bold]{percent(before)}[/] right")
    people.print(f"after, soft prompt:         [bold]{percent(after)}[/] right\n")
    print_predictions(found)
    folder = escape(str(output))
    people.print(f"\nThe prompt is in [bold]{folder}[/], the picture of its loss in {folder}.run/loss.png. Next:")
    people.print(f'  softprompt classify {folder} "my parcel never arrived"')
    people.print(f"  softprompt show {folder}")
    people.print("  softprompt tune --help        to teach it your own")
