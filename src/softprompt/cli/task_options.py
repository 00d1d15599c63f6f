"""Options that define the task, for commands that read training examples."""

from __future__ import annotations

from typing import Annotated

import typer

TASK_PANEL = "Task"

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
        help="Labels, comma-separated. Quote a label with a comma: '\"Food, drinks\",Staff'.  \\[default: the labels in the data]",
        rich_help_panel=TASK_PANEL,
    ),
]
VerbalizerOption = Annotated[
    str | None,
    typer.Option(
        "--verbalizer",
        help="Word or phrase for each label, if different from the label: 0=bad,1=good.",
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
