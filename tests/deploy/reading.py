"""The files of deploy/ as what they say, and their commands as the programs read them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import typer
import yaml

from softprompt.cli.main import app

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
MANIFESTS = sorted((DEPLOY / "kubernetes").glob("*.yaml"))


def compose() -> dict[str, Any]:
    """The compose file."""
    found: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text("utf-8"))
    return found


def objects(kind: str | None = None) -> Iterator[dict[str, Any]]:
    """What the manifests ask Kubernetes for."""
    for path in MANIFESTS:
        for each in yaml.safe_load_all(path.read_text("utf-8")):
            if kind is None or each["kind"] == kind:
                yield each


def one(kind: str, name: str) -> dict[str, Any]:
    """The object of that name."""
    [found] = [each for each in objects(kind) if each["metadata"]["name"] == name]
    return found


def options(arguments: Sequence[str]) -> dict[str, Any]:
    """What `softprompt` reads in a line of arguments; a word that it does not know, or a value that is none, fails."""
    command = typer.main.get_command(app)
    name, *rest = arguments
    found = command.get_command(command.make_context("softprompt", ["--help"], resilient_parsing=True), name)  # type: ignore[attr-defined]
    with found.make_context(name, rest) as context:
        return dict(context.params)


def connector(arguments: Sequence[str]) -> dict[str, Any]:
    """The connector that a line of `vllm serve` names."""
    [told] = [each.partition("=")[2] for each in arguments if each.startswith("--kv-transfer-config=")]
    found: dict[str, Any] = json.loads(told)
    return found


def seconds(text: str) -> float:
    """A duration of compose's, `90s` or `2m`."""
    return float(text[:-1]) * {"s": 1, "m": 60}[text[-1]]
