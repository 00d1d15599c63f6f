"""Whole comparisons. Each way's work is done in this process, which is quicker; tests/cli has them in their own."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest

from softprompt.comparison import CompareSettings
from softprompt.comparison import run as compare_as
from softprompt.comparison.worker import Teller, work
from softprompt.errors import DiskFull, SettingError
from tests.comparison.conftest import Settings, written
from tests.tasks.test_extraction import ROWS as EXTRACTED
from tests.tasks.test_tagging import ROWS as TAGGED

pytestmark = pytest.mark.usefixtures("here")

OWN = """
from softprompt.comparison import Fitted, Kind, Measured, Way


class Own(Way):
    title, kind, learns, repeats = "own", Kind.PROMPTING, False, False

    def fit(self, bench, trial, watcher):
        return Right()


class Right(Fitted):
    def measured(self, examples):
        return Measured({"accuracy": 1.0}, [1.0] * (len(examples) - LESS))
"""


@pytest.mark.parametrize(
    ("rows", "metric", "labels"), [(TAGGED, "f1", True), (EXTRACTED, "f1", True)], ids=["tags", "answers"]
)
def test_tasks_that_are_read_by_a_head(
    rows: list[dict[str, Any]], metric: str, labels: bool, settings: Settings, tmp_path: Path
) -> None:
    files = {name: written(tmp_path / f"{name}-rows.jsonl", rows) for name in ("data", "validation", "test")}
    ways = ("hard", "prefix", "lora:2", "head")
    report = compare_as(settings(**files, template=None, allow_overlap=True, ways=ways, seeds=1, trials=1, steps=2))
    assert report["metric"] == metric
    assert "trained with the prompt" in report["ways"]["hard"]["error"]
    assert {name for name in ways if "error" not in report["ways"][name]} == {"prefix", "lora:2", "head"}


def test_a_size_or_a_value_that_cannot_be_had_leaves_the_rest(settings: Settings, here: list[str]) -> None:
    given = settings(
        ways=("few-shot:4", "prefix"), sizes=(2, 8), sweep={"virtual-tokens": ("2", "500")}, seeds=1, trials=1
    )
    report = compare_as(given)
    shot, prefix = report["ways"]["few-shot:4"], report["ways"]["prefix"]
    assert list(shot["sizes"]) == ["8"]
    assert "2 examples to choose from" in shot["left_out"]["few-shot:4/size/2/0"]
    assert list(prefix["sweeps"]["virtual-tokens"]) == ["2"]
    assert list(prefix["left_out"]) == ["prefix/sweep/virtual-tokens/500/0/0"]
    assert prefix["accuracy"]["mean"] >= 0
    here.clear()
    compare_as(given)
    assert here == []  # what cannot be had is not tried again


def test_a_process_that_dies_in_a_sweep_leaves_the_seeds(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(job: dict[str, Any], log: Path, heard: Any) -> str:
        with pytest.raises(KeyboardInterrupt):
            work(job, DiesAt("sweep"))
        return "ran out of memory: the system ended it (SIGKILL)"

    monkeypatch.setattr("softprompt.comparison.comparing.run_apart", killed)
    report = compare_as(settings(ways=("prefix",), sweep={"virtual-tokens": ("2", "3")}, seeds=2, trials=1))
    prefix = report["ways"]["prefix"]
    assert len(prefix["accuracy"]["seeds"]) == 2
    assert len(prefix["left_out"]) == 4
    assert "SIGKILL" in prefix["left_out"]["prefix/sweep/virtual-tokens/2/0/0"]


class DiesAt(Teller):
    """A worker's process that ends where a kind of cell begins."""

    def __init__(self, purpose: str):
        super().__init__(io.StringIO())
        self.purpose = purpose

    def cell_began(self, cell: str) -> None:
        if f"/{self.purpose}/" in cell:
            raise KeyboardInterrupt


def test_what_stands_there_twice_is_measured_once(settings: Settings) -> None:
    given = settings(sizes=(4, 8, 4), sweep={"virtual-tokens": ("2", "2", "3")})
    assert given.sizes == (4, 8)
    assert given.sweep == {"virtual-tokens": ("2", "3")}


def test_what_a_change_makes_to_be_run_again(settings: Settings, here: list[str], tmp_path: Path) -> None:
    def run(**changes: Any) -> list[str]:
        here.clear()
        compare_as(
            settings(**{"ways": ("hard", "few-shot:2", "bitfit"), "seeds": 1, "trials": 1, "steps": 1, **changes})
        )
        return here

    assert run() == ["hard", "few-shot:2", "bitfit"]
    assert run() == []
    assert run(steps=2) == ["bitfit"]
    assert run(steps=1, ways=("hard", "few-shot:2")) == []
    assert run(steps=1, trials=2) == ["few-shot:2", "bitfit"]
    assert run(steps=1, trials=2, seeds=2) == ["few-shot:2", "bitfit"]
    assert run(template="{text}. It was", ways=("hard",)) == ["hard"]
    assert run(map={"text": "text"}, ways=("hard",)) == ["hard"]


def test_own_code_that_changed_is_another_way(
    settings: Settings, here: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import importlib
    import sys

    monkeypatch.syspath_prepend(str(tmp_path))
    file = tmp_path / "own_compared_way.py"

    def run(less: int) -> dict[str, Any]:
        here.clear()
        file.write_text(OWN.replace("LESS", str(less)))
        importlib.invalidate_caches()
        sys.modules.pop("own_compared_way", None)
        found: dict[str, Any] = compare_as(settings(ways=("hard", "own_compared_way:Own")))["ways"][
            "own_compared_way:Own"
        ]
        return found

    assert run(0)["accuracy"]["mean"] == 1.0
    assert run(0)
    assert here == []
    assert "gives 13 scores for 16 test examples" in run(3)["error"]
    assert here == ["own_compared_way:Own"]


def test_markers_of_virtual_tokens_are_no_words(settings: Settings) -> None:
    given = settings(template="[P1] [P2] {text}\nLabel:", ways=("few-shot:2", "prompt", "lora"), seeds=1, trials=1)
    report = compare_as(given)
    assert not [way for way in report["ways"].values() if "error" in way]


def test_a_way_whose_first_updates_fail_is_not_trained_for_one(settings: Settings) -> None:
    report = compare_as(settings(ways=("hard", "last:9"), budget_minutes=0.01))
    assert "has 3 layers" in report["ways"]["last:9"]["error"]


def test_a_full_disk_ends_all(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise DiskFull("no space left")

    monkeypatch.setattr("softprompt.comparison.comparing.run_apart", full)
    with pytest.raises(DiskFull):
        compare_as(settings(ways=("hard", "lora")))


@pytest.mark.parametrize("name", ["steps", "seed", "template", "learning-rate", "magic"])
def test_what_is_not_swept(settings: Settings, name: str) -> None:
    with pytest.raises(SettingError, match=f"`sweep` cannot vary '{name}': one of virtual_tokens, init"):
        compare_as(settings(ways=("prefix",), sweep={name: ("1",)}))


def test_half_precision_is_no_handicap(settings: Settings) -> None:
    """The copy that trains is in float32, whatever the base is in: prompts are too."""
    from softprompt.comparison import Bench
    from softprompt.comparison.ways.weights import copied

    given: CompareSettings = settings(dtype="bfloat16")
    model = copied(Bench.of(given).model)
    assert {str(p.dtype) for p in model.network.parameters()} == {"torch.float32"}
    assert model.precision == "bfloat16"


def test_a_template_without_a_blank_is_no_obstacle_to_a_head(settings: Settings, tmp_path: Path) -> None:
    """A masked model's words have no answer there; what a head reads has."""
    from tests.cli.conftest import saved_model

    base = str(saved_model(tmp_path / "bert", seed=0, family="bert"))
    report = compare_as(settings(model=base, template="{text}", ways=("hard", "head"), seeds=1, trials=2, steps=2))
    assert "error" in report["ways"]["hard"]
    assert report["ways"]["head"]["accuracy"]["mean"] >= 0
