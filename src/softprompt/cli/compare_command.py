"""`softprompt compare`: compares methods to adapt a model, on the user's data."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from softprompt.cli.command_flags import insert_flags
from softprompt.cli.console import print_json, stderr_console, stdout_console
from softprompt.cli.option_parser import parse_field_map, unescape_template
from softprompt.cli.options import (
    DeviceOption,
    DtypeOption,
    FieldMapOption,
    FormatOption,
    JsonOption,
    LabelFieldOption,
    LabelsOption,
    ResponseFieldOption,
    TaskOption,
    TemplateOption,
    VerbalizerOption,
)
from softprompt.comma_lists import split_list, split_pairs
from softprompt.errors import SettingError

TEXT_PANEL, BUDGET_PANEL, API_PANEL = "Text in front of the inputs", "Budget", "API"


def compare_command(
    data: Annotated[str, typer.Option(help="Training examples: a file, a folder, or hf:NAME on the Hub.")],
    test: Annotated[str, typer.Option(help="Test examples, used only for the final measurement.")],
    output: Annotated[
        Path,
        typer.Option(help="Folder for the report. A repeated command continues with the finished runs in the folder."),
    ],
    model: Annotated[
        str, typer.Option(help="Base model: smollm2-135m (bundled), a folder, a .gguf file, or a Hub id.")
    ] = "smollm2-135m",
    validation: Annotated[
        str | None,
        typer.Option(
            help="Validation examples, which select learning rates and steps.  \\[default: a tenth of the data is held out]"
        ),
    ] = None,
    max_eval_samples: Annotated[
        int, typer.Option(help="Maximum number of validation examples, sampled by label; 0 for all.")
    ] = 1000,
    methods: Annotated[
        str,
        typer.Option(
            help="Methods, comma-separated: hard, few-shot:K, document, truncate:P, distil:P, api[:MODEL], prompt, residual, p-tuning[:lstm], context, prefix[:mlp], p-tuning-v2, lora[:RANK], dora, lokr, ia3, adapter[:WIDTH], bitfit, head, last:K, full, or module:Class for a custom method."
        ),
    ] = "hard,few-shot:8,prompt,prefix,lora,full",
    context: Annotated[
        Path | None,
        typer.Option(
            help="Text file with an instruction, for the methods document (the whole text), truncate:P (its first P tokens) and distil:P (P virtual tokens).",
            rich_help_panel=TEXT_PANEL,
        ),
    ] = None,
    examples: Annotated[
        str | None,
        typer.Option(
            help="Examples with answers, a few-shot prompt for the same methods, instead.", rich_help_panel=TEXT_PANEL
        ),
    ] = None,
    document: Annotated[
        Path | None,
        typer.Option(help="Text file with a document, for the same methods, instead.", rich_help_panel=TEXT_PANEL),
    ] = None,
    seeds: Annotated[int, typer.Option(help="Number of training seeds per method.")] = 3,
    trials: Annotated[
        int, typer.Option(help="Number of learning rates to try per method.", rich_help_panel=BUDGET_PANEL)
    ] = 3,
    max_steps: Annotated[int, typer.Option(help="Training steps per run.", rich_help_panel=BUDGET_PANEL)] = 100,
    batch_size: Annotated[int, typer.Option(help="Examples per step.", rich_help_panel=BUDGET_PANEL)] = 16,
    budget_minutes: Annotated[
        float | None,
        typer.Option(
            help="Total training time in minutes, shared evenly by all runs, instead of --max-steps. Evaluation is not included.",
            rich_help_panel=BUDGET_PANEL,
        ),
    ] = None,
    train_sizes: Annotated[
        str | None,
        typer.Option(
            help="Numbers of training examples for the learning curve: 16,64,256.", rich_help_panel=BUDGET_PANEL
        ),
    ] = None,
    sweep: Annotated[
        list[str] | None,
        typer.Option(
            help="Vary a setting of the soft-prompt methods: num-virtual-tokens=1,5,20. Repeatable.", show_default=False
        ),
    ] = None,
    out_of_domain: Annotated[str | None, typer.Option(help="Out-of-domain test examples of the same task.")] = None,
    reference_text: Annotated[
        Path | None,
        typer.Option(
            help="File with text unrelated to the task, to measure forgetting.  \\[default: a text in the package]"
        ),
    ] = None,
    allow_overlap: Annotated[
        bool, typer.Option("--allow-overlap", help="Allow test examples that are also training or validation examples.")
    ] = False,
    map_: FieldMapOption = None,
    format_: FormatOption = None,
    task: TaskOption = None,
    template: TemplateOption = None,
    labels: LabelsOption = None,
    verbalizer: VerbalizerOption = None,
    label_field: LabelFieldOption = None,
    response_field: ResponseFieldOption = None,
    base_url: Annotated[
        str | None,
        typer.Option(
            help="Base URL of an OpenAI-compatible API. The key is in OPENAI_API_KEY.", rich_help_panel=API_PANEL
        ),
    ] = None,
    api_model: Annotated[str | None, typer.Option(help="Model name at the API.", rich_help_panel=API_PANEL)] = None,
    api_prices: Annotated[
        str | None,
        typer.Option(
            help="Prices in dollars per million prompt and completion tokens: 0.15,0.60.", rich_help_panel=API_PANEL
        ),
    ] = None,
    device: DeviceOption = "auto",
    dtype: DtypeOption = "auto",
    as_json: JsonOption = False,
) -> None:
    """Compare methods to adapt the model to your data under one budget, and write a report.

    All methods share splits, template, loss, budget and number of learning rates. Validation examples select the learning
    rate and the step; test examples are used once per seed. The report (`OUTPUT/report.html`) recommends a method with
    reasons, and says "better" only if a paired bootstrap test shows it. A failed method is reported, and the others continue.
    Ctrl-C keeps finished runs, and the same command continues from there.
    """
    from softprompt.cli.compare_progress import CompareProgressBar
    from softprompt.cli.compare_table import build_compare_table, describe_majority
    from softprompt.comparison import CompareSettings, run_comparison

    options = {
        "model": model, "data": data, "validation": validation, "test": test, "out_of_domain": out_of_domain,
        "max_eval_samples": max_eval_samples, "reference_text": reference_text, "map": parse_field_map(map_), "format": format_, "task": task,
        "template": None if template is None else unescape_template(template), "labels": labels and split_list("--labels", labels),
        "verbalizer": {} if verbalizer is None else split_pairs("--verbalizer", "label=word", verbalizer),
        "label_field": label_field, "response_field": response_field, "methods": [method.strip() for method in methods.split(",")],
        "context": context, "examples": examples, "document": document, "seeds": seeds,
        "trials": trials, "max_steps": max_steps, "batch_size": batch_size, "budget_minutes": budget_minutes,
        "train_sizes": parse_int_list("--train-sizes", train_sizes), "sweep": _parse_sweeps(sweep or []),
        "allow_overlap": allow_overlap, "base_url": base_url, "api_model": api_model,
        "api_prices": None if api_prices is None else api_prices.split(","), "output": output, "device": device,
        "dtype": dtype,
    }  # fmt: skip
    settings = CompareSettings.from_dict({name: value for name, value in options.items() if value is not None})
    sys.path.insert(0, str(Path.cwd()))  # for custom methods as module:Class, as with `python -m`
    with CompareProgressBar().show_live() as progress:
        report = run_comparison(settings, progress, ["softprompt", *sys.argv[1:]])
    if as_json:
        print_json(report.model_dump(mode="json"))
    else:
        stdout_console.print(build_compare_table(report))
        if warning := describe_majority(report.data.test):
            stdout_console.print(warning)
        stdout_console.print(f"\n{escape(report.recommendation.summary)}\n")
        stdout_console.print(f"The report is in [bold]{escape(str(output / 'report.html'))}[/]")
    for run_name, error in [skipped for result in report.results.values() for skipped in result.skipped_runs.items()]:
        stderr_console.print(f"skipped: {escape(run_name)}: {escape(insert_flags(error))}")
    if not report.results:
        raise SettingError("all methods failed: see the report for the reasons")


def parse_int_list(option: str, text: str | None) -> list[int]:
    """Parse a comma-separated list of positive integers.

    Args:
        option: flag for the error message.
        text: value of the option, or None.

    Raises:
        SettingError: an entry is not a positive integer.
    """
    parts = [part.strip() for part in text.split(",")] if text else []
    if invalid := [part for part in parts if not part.isdecimal() or int(part) < 1]:
        raise SettingError(
            f"{option} {text}: {invalid[0]!r} is not a positive integer: separate positive integers by commas"
        )
    return [int(part) for part in parts]


def _parse_sweeps(texts: list[str]) -> dict[str, list[str]]:
    sweeps: dict[str, list[str]] = {}
    for name, values in map(_parse_sweep, texts):
        sweeps.setdefault(name, []).extend(values)
    return sweeps


def _parse_sweep(text: str) -> tuple[str, list[str]]:
    name, equals, values = text.partition("=")
    if not (name and equals and values):
        raise SettingError(f"--sweep {text}: pass a setting and its values, such as num-virtual-tokens=1,5,20")
    return name.strip(), split_list(f"--sweep {name}", values)
