"""The files of deploy/ as what they say, and their commands as the programs read them."""

from __future__ import annotations

import json
import re
import shlex
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


def vllm_options(words: Sequence[str]) -> dict[str, str]:
    """The options of a line for vLLM, without their dashes; "" is the value of one that has none."""
    found: dict[str, str] = {}
    for word, following in zip(words, [*words[1:], "--"], strict=True):
        if word.startswith("--"):
            name, equals, value = word[2:].partition("=")
            found[name] = value if equals or following.startswith("--") else following
    return found


def page_commands(page: str) -> list[list[str]]:
    """The lines that start vLLM on a page, in words."""
    blocks = re.findall(r"^```sh\n(.*?)^```", (ROOT / "docs" / page).read_text("utf-8"), re.MULTILINE | re.DOTALL)
    joined = [block.replace("\\\n", " ") for block in blocks]
    return [shlex.split(block) for block in joined if block.startswith("vllm serve")]


def connector(arguments: Sequence[str]) -> dict[str, Any]:
    """The connector that a line of `vllm serve` names."""
    [told] = [each.partition("=")[2] for each in arguments if each.startswith("--kv-transfer-config=")]
    found: dict[str, Any] = json.loads(told)
    return found


def seconds(text: str) -> float:
    """A duration of compose's, `90s` or `2m`."""
    return float(text[:-1]) * {"s": 1, "m": 60}[text[-1]]
