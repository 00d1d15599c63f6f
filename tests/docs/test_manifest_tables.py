"""The tables of docs/saved_prompt.md list the fields that a manifest must have, and no others."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import get_args

import pytest

from softprompt.model import ModelShape, Placement
from softprompt.model.model_shape import ModelKind
from softprompt.saved import Manifest
from softprompt.saved.manifest import BaseModelInfo
from softprompt.saved.peft_adapter_reader import SUPPORTED_PEFT_TYPES
from softprompt.tasks import Task
from tests.saved.factories import make

PAGE = (Path(__file__).parents[2] / "docs" / "saved_prompt.md").read_text("utf-8")
TASKS = {each.model_fields["kind"].default: each for each in get_args(get_args(Task)[0])}


def rows(before: str) -> dict[str, str]:
    """The first table behind some words: the name in its first column, and the rest of the row."""
    table = re.search(r"^(?:\|.*\n)+", PAGE[PAGE.index(before) :], re.MULTILINE)
    assert table is not None, before
    return dict(re.findall(r"^\| `([^`]+)` \|(.*)$", table[0], re.MULTILINE))


@pytest.mark.parametrize(
    ("before", "names"),
    [
        ("## The manifest", list(Manifest.model_fields)),
        ("\n`base`:", list(BaseModelInfo.model_fields)),
        ("\n`shape`:", [each.name for each in dataclasses.fields(ModelShape)]),
        ("\n`task`, by its `kind`", list(TASKS)),
    ],
)
def test_a_manifest_table_lists_the_fields_of_the_code_in_order(before: str, names: list[str]) -> None:
    assert list(rows(before)) == names


@pytest.mark.parametrize("kind", TASKS)
def test_the_task_table_lists_the_fields_of_each_task_kind(kind: str) -> None:
    fields = re.sub(r"\([^)]*\)", "", rows("\n`task`, by its `kind`")[kind])
    assert re.findall(r"`(\w+)`", fields) == [name for name in TASKS[kind].model_fields if name != "kind"]


def test_a_written_manifest_has_every_field_of_the_tables() -> None:
    """A reader of the file therefore needs no defaults."""
    written = make().manifest.model_dump(mode="json")
    assert set(written) == set(rows("## The manifest"))
    assert set(written["base"]) == set(rows("\n`base`:"))
    assert set(written["base"]["shape"]) == set(rows("\n`shape`:"))


@pytest.mark.parametrize(
    ("before", "name", "values"),
    [
        ("## The manifest", "placement", list(Placement)),
        ("## The manifest", "payload", list(get_args(Manifest.model_fields["payload"].annotation))),
        ("\n`shape`:", "kind", list(ModelKind)),
    ],
)
def test_a_manifest_table_lists_the_values_of_the_code(before: str, name: str, values: list[str]) -> None:
    assert re.findall(r"`([a-z-]+)`", rows(before)[name])[: len(values)] == [str(value) for value in values]


def test_the_documented_adapter_types_are_those_of_the_code() -> None:
    [said] = re.findall(r"reads adapters of the types (.*?)\. peft", PAGE.replace("\n", " "))
    assert set(re.findall(r"`([A-Z_]+)`", said)) == set(SUPPORTED_PEFT_TYPES)
