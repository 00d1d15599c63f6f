"""Reads the files of deploy/, and parses their commands as the programs do."""

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
    """Read the compose file."""
    content: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text("utf-8"))
    return content


def objects(kind: str | None = None) -> Iterator[dict[str, Any]]:
    """Yield the Kubernetes objects of the manifests, all or those of one kind."""
    for path in MANIFESTS:
        for manifest in yaml.safe_load_all(path.read_text("utf-8")):
            if kind is None or manifest["kind"] == kind:
                yield manifest


def one(kind: str, name: str) -> dict[str, Any]:
    """Return the object of this kind and name."""
    [manifest] = [manifest for manifest in objects(kind) if manifest["metadata"]["name"] == name]
    return manifest


def options(arguments: Sequence[str]) -> dict[str, Any]:
    """Parse a command line of `softprompt` to its parameters; raises an error for unknown options and bad values."""
    program = typer.main.get_command(app)
    name, *rest = arguments
    command = program.get_command(program.make_context("softprompt", ["--help"], resilient_parsing=True), name)  # type: ignore[attr-defined]
    with command.make_context(name, rest) as context:
        return dict(context.params)


def vllm_options(words: Sequence[str]) -> dict[str, str]:
    """Return the options of a vLLM command line, without dashes; an option without a value has the value ""."""
    values: dict[str, str] = {}
    for word, following in zip(words, [*words[1:], "--"], strict=True):
        if word.startswith("--"):
            name, equals, value = word[2:].partition("=")
            values[name] = value if equals or following.startswith("--") else following
    return values


def page_commands(page: str) -> list[list[str]]:
    """Return the commands on a page of docs/ that start vLLM, split into words."""
    blocks = re.findall(r"^```sh\n(.*?)^```", (ROOT / "docs" / page).read_text("utf-8"), re.MULTILINE | re.DOTALL)
    joined = [block.replace("\\\n", " ") for block in blocks]
    return [shlex.split(block) for block in joined if block.startswith("vllm serve")]


def connector(arguments: Sequence[str]) -> dict[str, Any]:
    """Return the connector configuration in the arguments of `vllm serve`."""
    prefix = "--kv-transfer-config="
    [text] = [argument.removeprefix(prefix) for argument in arguments if argument.startswith(prefix)]
    config: dict[str, Any] = json.loads(text)
    return config


def seconds(text: str) -> float:
    """Parse a duration of a compose file, such as `90s` or `2m`."""
    return float(text[:-1]) * {"s": 1, "m": 60}[text[-1]]
