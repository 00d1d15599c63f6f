"""Options that several commands have."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from softprompt.cli.option_parser import TEXT_FORM_HELP

TASK_PANEL, MACHINE_PANEL, RUN_PANEL = "Task", "Machine", "Run"

JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object on standard output.")]
OverwriteOption = Annotated[
    bool, typer.Option("--overwrite", help="Replace an existing prompt or run.", rich_help_panel=RUN_PANEL)
]
ConfigOption = Annotated[
    Path | None,
    typer.Option(
        help="TOML file with settings, named like the options. The command line overrides the file.",
        rich_help_panel=RUN_PANEL,
    ),
]
ReportToOption = Annotated[
    str | None, typer.Option(help="Log metrics to tensorboard, wandb or trackio.", rich_help_panel=RUN_PANEL)
]
DeviceOption = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps.", rich_help_panel=MACHINE_PANEL)]
DtypeOption = Annotated[
    str,
    typer.Option(
        help="auto, float32, bfloat16, float16, or quantized by bitsandbytes: int8, nf4.", rich_help_panel=MACHINE_PANEL
    ),
]
BaseModelOption = Annotated[
    str | None,
    typer.Option(
        "--model",
        help="Base model: smollm2-135m, a folder, a .gguf file, or a Hub id.  \\[default: the model in the prompt's manifest]",
    ),
]
FieldMapOption = Annotated[
    str | None,
    typer.Option("--map", help=TEXT_FORM_HELP["map"], show_default=False),
]
FormatOption = Annotated[
    str | None,
    typer.Option(
        "--format",
        help="classification, input-output, alpaca, chat, sharegpt, question (question-from-0, question-from-1, question-by-text), token-classification, extraction (extraction-utf-16, extraction-utf-8) or fields.  \\[default: detected from the fields]",
    ),
]

EnsembleOption = Annotated[
    list[Path] | None,
    typer.Option("--with", help="Another prompt for the same task, for an ensemble. Repeatable."),
]
CombineOption = Annotated[
    str, typer.Option("--combine", help="How an ensemble combines predictions: mean (of probabilities) or vote.")
]

TaskOption = Annotated[
    str | None,
    typer.Option(
        "--task",
        help="classification, generation, chat, token-classification or extraction.  \\[default: chosen by the data format]",
        rich_help_panel=TASK_PANEL,
    ),
]
TemplateOption = Annotated[
    str | None,
    typer.Option(
        "--template",
        help="Template of the prompt, with fields in braces and \\n for a new line: 'Review: {text}\\nSentiment:'. The answer follows the template.",
        rich_help_panel=TASK_PANEL,
    ),
]
LabelsOption = Annotated[
    str | None,
    typer.Option(
        "--labels",
        help=f"{TEXT_FORM_HELP['labels']}  \\[default: the labels in the data]",
        rich_help_panel=TASK_PANEL,
    ),
]
VerbalizerOption = Annotated[
    str | None,
    typer.Option(
        "--verbalizer",
        help=TEXT_FORM_HELP["verbalizer"],
        rich_help_panel=TASK_PANEL,
    ),
]
LabelFieldOption = Annotated[
    str | None,
    typer.Option("--label-field", help="Field with the label.  \\[default: label]", rich_help_panel=TASK_PANEL),
]
ResponseFieldOption = Annotated[
    str | None,
    typer.Option("--response-field", help="Field with the response.  \\[default: output]", rich_help_panel=TASK_PANEL),
]
