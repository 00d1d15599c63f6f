"""`softprompt show`: what a saved prompt is."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from softprompt.cli.output import BaseModel, Device, Dtype, Json, people, print_json
from softprompt.unicode_text import escape_controls

if TYPE_CHECKING:
    from softprompt.evaluation.neighbours import Neighbour
    from softprompt.saved import SavedPrompt


def show(
    prompt: Annotated[Path, typer.Argument(help="The saved prompt's folder.")],
    neighbours: Annotated[
        bool, typer.Option(help="Also the nearest vocabulary tokens, which loads the base model.")
    ] = True,
    model: BaseModel = None,
    device: Device = "auto",
    dtype: Dtype = "auto",
    as_json: Json = False,
) -> None:
    """Show a saved prompt: method, size, base model, task, metrics, and what its virtual tokens resemble.

    For embeddings, the nearest tokens of the vocabulary by cosine, with their distance. A prefix has no embeddings: its
    tokens are likened to the vocabulary by the values they leave in the first layer.
    """
    from softprompt.saved import SavedPrompt

    saved = SavedPrompt.read(prompt)
    found: list[Neighbour] = []
    if neighbours:
        from softprompt.cli.loading import load
        from softprompt.evaluation.neighbours import nearest_tokens

        saved, base = load(prompt, model, device, dtype)
        found = nearest_tokens(base, saved)
    facts = _facts(saved)
    if as_json:
        print_json({**facts, "nearest_tokens": [vars(each) for each in found]})
        return
    people.print(_table(facts))
    if found:
        people.print(_neighbours(found))


def _facts(saved: SavedPrompt) -> dict[str, Any]:
    manifest = saved.manifest
    return {
        "method": manifest.method["name"],
        "settings": {name: value for name, value in manifest.method.items() if name != "name" and value is not None},
        "virtual_tokens": manifest.num_virtual_tokens,
        "payload": manifest.payload,
        "placement": str(manifest.placement),
        "parameters": saved.num_parameters,
        "trained_parameters": manifest.trained_parameters,
        "share": saved.num_parameters / manifest.base.num_parameters,
        "base": manifest.base.model_dump(mode="json"),
        "task": manifest.task.model_dump(mode="json"),
        "metrics": manifest.metrics,
        "peft": saved.peft_refusal or True,
        "content_hash": manifest.content_hash,
        "versions": manifest.versions,
    }


def _table(facts: dict[str, Any]) -> Table:
    base, task = facts["base"], facts["task"]
    rows = {
        "method": f"{facts['method']} ({facts['payload']}, {facts['placement']})",
        "starts from": facts["settings"].get("init", "–"),
        "virtual tokens": str(facts["virtual_tokens"]),
        "parameters": f"{facts['parameters']:,} ({100 * facts['share']:.3f}% of the base); {facts['trained_parameters']:,} trained",
        "base model": f"{base['name']}, {base['dtype']}, {base['fingerprint']}",
        "task": task["kind"]
        + (f": {task['template']!r}" if "template" in task else "")
        + (f" → {', '.join(task['labels'])}" if "labels" in task else ""),
        "validation": ", ".join(f"{n} {v:.4g}" for n, v in facts["metrics"].get("validation", {}).items()) or "–",
        "peft can read it": "yes" if facts["peft"] is True else f"no: {facts['peft']}",
        "content": facts["content_hash"],
    }
    table = Table(show_header=False, box=None)
    for name, value in rows.items():
        table.add_row(f"[bold]{name}[/]", escape(escape_controls(value, keep="")))
    return table


def _neighbours(found: list[Neighbour]) -> Table:
    table = Table("virtual token", "nearest in the vocabulary", "distance", title_justify="left")
    for each in found:
        table.add_row(
            str(each.virtual_token),
            escape("  ".join(map(repr, each.tokens))),
            "  ".join(f"{d:.2f}" for d in each.distances),
        )
    return table
