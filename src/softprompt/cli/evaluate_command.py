"""`softprompt evaluate`: measures a prompt on unseen examples."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from softprompt.cli.console import describe_never_predicted, print_json, stderr_console, stdout_console
from softprompt.cli.option_parser import parse_field_map
from softprompt.cli.options import (
    BaseModelOption,
    CombineOption,
    DeviceOption,
    DtypeOption,
    EnsembleOption,
    FieldMapOption,
    FormatOption,
    JsonOption,
)
from softprompt.cli.progress_lines import show_activity

logger = logging.getLogger("softprompt.cli")


def evaluate_command(
    prompt: Annotated[Path, typer.Argument(help="Folder of the saved prompt.")],
    data: Annotated[
        str, typer.Option(help="Examples with labels or responses: a file, a folder, or hf:NAME on the Hub.")
    ],
    with_: EnsembleOption = None,
    combine: CombineOption = "mean",
    map_: FieldMapOption = None,
    format_: FormatOption = None,
    hard_prompt: Annotated[bool, typer.Option(help="Also measure the template without the soft prompt.")] = True,
    max_new_tokens: Annotated[int, typer.Option(help="Maximum length of a generated response, in tokens.")] = 128,
    model: BaseModelOption = None,
    device: DeviceOption = "auto",
    dtype: DtypeOption = "auto",
    as_json: JsonOption = False,
) -> None:
    """Measure a prompt on unseen examples, and the same template without the soft prompt.

    Classification: accuracy, macro F1, loss, and the accuracy of always predicting the most frequent label. Generation and
    chat: perplexity, BLEU against all reference responses, and the share of responses that repeat themselves ("the the
    the"). Token classification: F1 of entities, accuracy of words. Extraction: F1 and exact match. `--with` evaluates an
    ensemble of prompts.
    """
    from softprompt.cli.prompt_and_model import load_prompts_and_model
    from softprompt.data import read_examples
    from softprompt.evaluation import evaluate
    from softprompt.sampling import SamplingParams

    with show_activity(stderr_console, f"reading {data}"):
        examples = read_examples(data, parse_field_map(map_), format_)
    logger.info("%s", examples.summary)
    saved, base = load_prompts_and_model([prompt, *(with_ or [])], model, device, dtype)
    with show_activity(stderr_console, f"evaluating {len(examples)} examples") as activity:
        sampling = SamplingParams(max_new_tokens=max_new_tokens)
        metrics = evaluate(
            base,
            saved,
            examples,
            hard_prompt=hard_prompt,
            sampling=sampling,
            combine=combine,
            on_progress=activity.on_progress,
        )
    if as_json:
        print_json(metrics)
    else:
        hard_prompt_metrics = metrics.pop("hard_prompt", None)
        never_predicted = metrics.pop("never_answered", ())
        stdout_console.print(_build_table(metrics, hard_prompt_metrics))
        if never_predicted:
            stdout_console.print(f"[yellow]{escape(describe_never_predicted(never_predicted))}[/]")


def _build_table(metrics: dict[str, Any], hard_prompt_metrics: dict[str, Any] | None) -> Table:
    table = Table(title=f"{metrics.pop('examples')} examples", title_justify="left")
    table.add_column("")
    table.add_column("soft prompt", justify="right")
    if hard_prompt_metrics:
        table.add_column("hard prompt", justify="right")
    for name, value in metrics.items():
        table.add_row(
            name.replace("_", " "),
            f"{value:.4g}",
            *([f"{hard_prompt_metrics[name]:.4g}"] if hard_prompt_metrics else []),
        )
    return table
