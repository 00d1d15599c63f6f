"""The GPU benchmark runs on the CPU too, and reports all expected fields."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks import gpu
from benchmarks.lib.random_models import LABELS, create_random_model
from benchmarks.lib.step_timer import measure_speeds
from benchmarks.lib.train_steps import TEMPLATE, ReviewClassification, make_peft_step
from benchmarks.memory import TASKS, VARIANTS

RATIOS = {
    *(f"{method}_vs_{which}" for method in ("prefix", "prompt") for which in ("padded128", "longest")),
    "trunk_half",
    "trunk_quarter",
    "together_8",
    "matrix_rate_share",
}
ABOUT = {"benchmark", "device", "model", "dtype", "torch", "data", "rounds", "seconds", "left_out"}
LESS = ("--together", "1,3", "--examples", "32", "--rows", "2", "--length", "32")
UNCOMPILED = ("--parts", "training,together,memory")  # a compiler takes a minute, and there is not one everywhere


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., dict[str, Any]]:
    """Run the script on a tiny model; gives what its JSON line says."""

    def ran(*arguments: str) -> dict[str, Any]:
        monkeypatch.setattr("sys.argv", ["gpu", "--device", "cpu", "--shape", "tiny", *LESS, *arguments])
        gpu.main()
        found: dict[str, Any] = json.loads(capsys.readouterr().out.splitlines()[-1])
        return found

    return ran


def test_the_gpu_benchmark_reports_all_expected_fields(run: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    found = run(*UNCOMPILED, "--plot", str(tmp_path / "together.png"))
    parts = {"matrix_rate", "useful_tokens_per_second", "together", "rows_per_prompt", "goal", "memory"}
    assert set(found) == {*ABOUT, *RATIOS, *parts}
    assert found["left_out"] == []
    assert set(found["together"]) == {"all layers", "top half"}
    assert all(set(curve) == {"1", "3"} for curve in found["together"].values())
    assert set(found["memory"]) == set(TASKS)
    assert all(set(found["memory"][task]["mebibytes"]) == {str(way) for way in VARIANTS} for task in TASKS)
    ratios = [found[name] for name in RATIOS] + [ratio for c in found["together"].values() for ratio in c.values()]
    ratios += [ratio for task in TASKS for ratio in found["memory"][task]["of_peft"].values()]
    assert all(math.isfinite(ratio) for ratio in ratios)
    assert (tmp_path / "together.png").read_bytes().startswith(b"\x89PNG")


def test_parts_beyond_the_budget_are_listed(run: Callable[..., dict[str, Any]], reviews: Path) -> None:
    found = run("--budget", "0", "--data", str(reviews))
    assert found["left_out"] == ["training", "together", "compiled", "memory"]
    assert set(found) == ABOUT


def test_too_few_rounds_are_rejected(run: Callable[..., dict[str, Any]]) -> None:
    with pytest.raises(SystemExit):
        run("--rounds", "4")


def test_measuring_peft_leaves_the_shared_model_unchanged(tmp_path: Path) -> None:
    model = create_random_model("tiny", "float32", "cpu", [TEMPLATE, *LABELS])
    examples = gpu.load_examples(None, 8)
    reviews = ReviewClassification(model, examples, tmp_path)
    ids = torch.arange(20).unsqueeze(0)
    before, configured = model.compute_hidden_states(ids, ids >= 0), model.network.config.to_dict()
    ways = {method: make_peft_step(model, reviews.rows_with_responses, method, 4) for method in ("prefix", "prompt")}
    measure_speeds(ways, 1, model.device)
    assert torch.equal(model.compute_hidden_states(ids, ids >= 0), before)
    assert model.network.config.to_dict() == configured
