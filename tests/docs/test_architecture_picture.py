"""The picture of the module floors in docs/architecture.md agrees with the contract in .importlinter."""

from __future__ import annotations

import configparser
import re
from itertools import pairwise, product
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "architecture.md").read_text("utf-8")
PICTURE = next(block for block in re.findall(r"```mermaid\n(.*?)```", PAGE, re.DOTALL) if "subgraph entry" in block)
BOXES = re.findall(r"subgraph (\w+)\[.*?\n(.*?)\n    end", PICTURE, re.DOTALL)


def read_floors() -> dict[str, int]:
    """The floor of each module, counted from the top."""
    contracts = configparser.ConfigParser()
    contracts.read(ROOT / ".importlinter")
    layers = contracts["importlinter:contract:floors"]["layers"].strip().splitlines()
    return {name: floor for floor, line in enumerate(layers) for name in re.findall(r"softprompt\.(\w+)", line)}


FLOORS = read_floors()


def list_nodes(box: str) -> dict[str, list[str]]:
    """The modules of each node in a box: the node itself, or the modules that its label lists."""
    nodes = re.findall(r'^ +(\w+)\["(.*)"\]$', box, re.MULTILINE)
    return {name: [name] if name in FLOORS else re.findall(r"\w{3,}", label) for name, label in nodes}


def list_modules(box: str) -> list[str]:
    """All modules in a box."""
    return [module for modules in list_nodes(box).values() for module in modules]


def test_the_architecture_picture_has_every_module_of_the_import_contract() -> None:
    assert sorted(module for _, box in BOXES for module in list_modules(box)) == sorted(FLOORS)


def test_modules_in_a_box_of_the_architecture_picture_are_above_those_in_the_next_box() -> None:
    for (_, upper), (_, lower) in pairwise(BOXES):
        for above, below in product(list_modules(upper), list_modules(lower)):
            assert FLOORS[above] < FLOORS[below], (above, below)


@pytest.mark.parametrize("box", dict(BOXES).values(), ids=dict(BOXES))
def test_arrows_in_the_architecture_picture_point_to_lower_floors(box: str) -> None:
    nodes = list_nodes(box)
    for line in re.findall(r"^ +[\w &]+-->.*$", box, re.MULTILINE):
        for upper, lower in pairwise(line.strip().split(" --> ")):
            for above, below in product(upper.split(" & "), lower.split(" & ")):
                assert max(FLOORS[each] for each in nodes[above]) < min(FLOORS[each] for each in nodes[below])
