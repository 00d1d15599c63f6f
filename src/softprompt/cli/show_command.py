"""`softprompt show`: describes a saved prompt."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from softprompt.cli.console import print_json, stdout_console
from softprompt.cli.options import BaseModelOption, DeviceOption, DtypeOption, JsonOption
from softprompt.unicode_text import escape_controls

if TYPE_CHECKING:
    from softprompt.evaluation.nearest_tokens import TokenNeighbors
    from softprompt.saved import SavedPrompt


def show_command(
    prompt: Annotated[Path, typer.Argument(help="Folder of the saved prompt.")],
    neighbors: Annotated[
        bool, typer.Option(help="Show the nearest tokens of the vocabulary, which loads the base model.")
    ] = True,
    model: BaseModelOption = None,
    device: DeviceOption = "auto",
    dtype: DtypeOption = "auto",
    as_json: JsonOption = False,
) -> None:
    """Show a saved prompt: method, size, base model, task, metrics, and the nearest tokens of its virtual tokens.

    Prompt embeddings are compared with the vocabulary's embeddings by cosine distance. A prefix has no embeddings, so its
    values in the first layer are compared with those of the vocabulary.
    """
    from softprompt.saved import SavedPrompt

    saved = SavedPrompt.from_folder(prompt)
    nearest: list[TokenNeighbors] = []
    if neighbors:
        from softprompt.cli.prompt_and_model import load_prompt_and_model
        from softprompt.evaluation.nearest_tokens import find_nearest_tokens

        saved, base = load_prompt_and_model(prompt, model, device, dtype)
        nearest = find_nearest_tokens(base, saved)
    description = _describe_prompt(saved)
    if as_json:
        print_json({**description, "nearest_tokens": [vars(neighbors_of_token) for neighbors_of_token in nearest]})
        return
    stdout_console.print(_build_table(description))
    if nearest:
        stdout_console.print(_build_neighbors_table(nearest))


def _describe_prompt(saved_prompt: SavedPrompt) -> dict[str, Any]:
    manifest = saved_prompt.manifest
    return {
        "method": manifest.method["name"],
        "settings": {name: value for name, value in manifest.method.items() if name != "name" and value is not None},
        "num_virtual_tokens": manifest.num_virtual_tokens,
        "payload": manifest.payload,
        "placement": str(manifest.placement),
        "parameters": saved_prompt.num_parameters,
        "trained_parameters": manifest.trained_parameters,
        "share_of_base": saved_prompt.num_parameters / manifest.base.num_parameters,
        "base_model": manifest.base.model_dump(mode="json"),
        "task": manifest.task.model_dump(mode="json"),
        "metrics": manifest.metrics,
        "peft_incompatibility": saved_prompt.peft_incompatibility,
        "content_hash": manifest.content_hash,
        "versions": manifest.versions,
    }


def _build_table(description: dict[str, Any]) -> Table:
    base, task = description["base_model"], description["task"]
    source = description["settings"].get("source")
    source_row = {"distilled from": _describe_source(source)} if isinstance(source, Mapping) else {}
    rows = {
        "method": f"{description['method']} ({description['payload']}, {description['placement']})",
        **source_row,
        "initializer": description["settings"].get("init", "–"),
        "virtual tokens": str(description["num_virtual_tokens"]),
        "parameters": f"{description['parameters']:,} ({100 * description['share_of_base']:.3f}% of the base); {description['trained_parameters']:,} trained",
        "base model": f"{base['name']}, {base['dtype']}, {base['fingerprint']}",
        "task": task["kind"]
        + (f": {task['template']!r}" if "template" in task else "")
        + (f" → {', '.join(task['labels'])}" if "labels" in task else ""),
        "validation": ", ".join(f"{n} {v:.4g}" for n, v in description["metrics"].get("validation", {}).items()) or "–",
        "peft compatible": f"no: {description['peft_incompatibility']}"
        if description["peft_incompatibility"]
        else "yes",
        "content hash": description["content_hash"],
    }
    table = Table(show_header=False, box=None)
    for name, value in rows.items():
        table.add_row(f"[bold]{name}[/]", escape(escape_controls(value, keep="")))
    return table


def _describe_source(source: Mapping[str, Any]) -> str:
    """Describe the text that a prompt was distilled from; a foreign manifest may lack parts of it."""
    kind, path, num_tokens = (source.get(name, "?") for name in ("kind", "path", "num_tokens"))
    return f"{kind} {Path(str(path)).name}, {num_tokens} tokens"


def _build_neighbors_table(neighbors: list[TokenNeighbors]) -> Table:
    table = Table("virtual token", "nearest in the vocabulary", "distance", title_justify="left")
    for neighbor in neighbors:
        table.add_row(
            str(neighbor.virtual_token),
            escape("  ".join(map(repr, neighbor.tokens))),
            "  ".join(f"{d:.2f}" for d in neighbor.distances),
        )
    return table
