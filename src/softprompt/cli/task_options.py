"""Options that say what the task is, of every command that reads examples to learn from."""

from __future__ import annotations

from typing import Annotated

import typer

PANEL = "Task"

TaskName = Annotated[
    str | None,
    typer.Option(
        "--task",
        help="classification, generation, chat, token-classification or extraction.  \\[default: what the data's format is for]",
        rich_help_panel=PANEL,
    ),
]
TemplateText = Annotated[
    str | None,
    typer.Option(
        "--template",
        help="What the model sees; fields in braces, \\n for a new line: 'Review: {text}\\nSentiment:'. The answer follows it.",
        rich_help_panel=PANEL,
    ),
]
Labels = Annotated[
    str | None,
    typer.Option(
        "--labels",
        help="Comma-separated; one with a comma in quotes: '\"Food, drinks\",Staff'.  \\[default: found in the data]",
        rich_help_panel=PANEL,
    ),
]
Verbalizer = Annotated[
    str | None,
    typer.Option(
        "--verbalizer",
        help="What the model says for a label, where that is not the label itself, one word or phrase each: 0=bad,1=good.",
        rich_help_panel=PANEL,
    ),
]
LabelField = Annotated[
    str | None,
    typer.Option("--label-field", help="The field with the label.  \\[default: label]", rich_help_panel=PANEL),
]
ResponseField = Annotated[
    str | None,
    typer.Option("--response-field", help="The field with the response.  \\[default: output]", rich_help_panel=PANEL),
]
