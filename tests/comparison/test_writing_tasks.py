"""Instruction tuning and its like: the ways on rows whose answer is written."""

from __future__ import annotations

from pathlib import Path

import pytest

from softprompt.comparison import Bench
from softprompt.comparison.cells import Cell, Cells
from softprompt.comparison.running import Unheard, WayRun
from softprompt.comparison.ways import way_named
from tests.comparison.conftest import Settings, written

FOODS = ("rice", "fish", "tea", "pie")


@pytest.fixture
def bench(settings: Settings, tmp_path: Path) -> Bench:
    def rows(*names: str) -> list[dict[str, str]]:
        return [
            {"instruction": f"name: {n}, food: {f}", "input": "", "output": f"{n} serves {f}."}
            for n in names
            for f in FOODS
        ]

    files = {
        "data": written(tmp_path / "a.jsonl", rows("Aro", "Ber", "Cil")),
        "validation": written(tmp_path / "b.jsonl", rows("Dan")),
        "test": written(tmp_path / "c.jsonl", rows("Eva", "Fin")),
    }
    return Bench.of(settings(**files, template=None, seeds=1, trials=1))


@pytest.mark.parametrize("name", ["hard", "few-shot:1", "prefix", "lora", "full"])
def test_instructions_are_learnt_and_written(bench: Bench, name: str, tmp_path: Path) -> None:
    """The format is Alpaca's, found by its fields, so this is instruction tuning."""
    run = WayRun(bench, name, way_named(name), 2, Cells(tmp_path / "cells"), Unheard())
    run.run()
    found = run.cells.find(Cell(name, "seed"))
    assert list(found["metrics"]) == ["perplexity", "loss", "bleu"]
    assert 0 <= found["metrics"]["bleu"] <= 100
    assert len(found["scores"]) == 8
    assert max(found["scores"]) < 0  # of a response minus its loss per token
    assert found["confusion"] is None
    assert found["serving"]["50"]["rows_per_second"] > 0


def test_a_head_alone_cannot_write(bench: Bench, tmp_path: Path) -> None:
    from softprompt.errors import TaskError

    with pytest.raises(TaskError, match="a generation has no labels"):
        WayRun(bench, "head", way_named("head"), 2, Cells(tmp_path), Unheard()).run()
