"""From cells to figures."""

from __future__ import annotations

from pathlib import Path

import pytest

from softprompt.comparison import Bench
from softprompt.comparison.cells import Cells, planned
from softprompt.comparison.running import Unheard, WayRun
from softprompt.comparison.summary import compared, priced, scores_of, spread_of, summarised
from softprompt.comparison.ways import way_named
from tests.comparison.conftest import Settings


def test_spreads() -> None:
    found = spread_of([{"accuracy": 0.8, "loss": 0.5}, {"accuracy": 0.9, "loss": 0.3}])
    assert found["accuracy"] == {
        "mean": pytest.approx(0.85),
        "spread": pytest.approx(0.0707, abs=1e-4),
        "worst": 0.8,
        "seeds": [0.8, 0.9],
    }
    assert found["loss"]["worst"] == 0.5  # of losses the largest
    assert spread_of([{"accuracy": 0.8}])["accuracy"]["spread"] is None


def test_prices() -> None:
    calls = {"requests": 4, "prompt_tokens": 40, "completion_tokens": 8}
    assert priced(calls, (2.5, 10.0)) == {**calls, "dollars": pytest.approx((40 * 2.5 + 8 * 10.0) / 1e6)}
    assert priced(calls, None) == {**calls, "dollars": None}
    assert priced({**calls, "prompt_tokens": None}, (1.0, 1.0))["dollars"] is None
    assert priced(None, (1.0, 1.0)) is None


def test_a_way_in_figures(settings: Settings, tmp_path: Path) -> None:
    bench = Bench.of(settings(sizes=(4,), sweep={"init": ("text", "random")}, out_of_domain=settings().test))
    way, cells = way_named("prompt"), Cells(tmp_path)
    WayRun(bench, "prompt", way, 3, cells, Unheard()).run()
    plan = planned(bench.settings, "prompt", way)
    found = summarised(way, plan, cells, bench, before=5.0)
    assert (found["title"], found["kind"]) == ("prompt tuning", "soft prompt")
    assert len(found["accuracy"]["seeds"]) == 2
    assert found["trained_share"] == found["trained_parameters"] / bench.model.num_parameters
    assert found["forgetting"]["before"] == 5.0
    assert found["forgetting"]["after"] > 0
    assert found["out_of_domain"] == {name: found[name] for name in ("accuracy", "macro_f1", "loss")}
    assert [trial["rate"] for trial in found["learning_rate"]["trials"]] == pytest.approx(
        [way.rate(bench), 3 * way.rate(bench)]
    )
    assert {point["seed"] for point in found["curve"]} == {0, 1}
    assert list(found["sizes"]) == ["4"]
    assert {name: list(values) for name, values in found["sweeps"].items()} == {"init": ["text", "random"]}
    assert sum(map(sum, found["confusion"])) == 32
    assert found["search_seconds"] > 2 * found["seconds"] > 0
    assert found["peak_memory_bytes"] > 0
    assert found["serving"]["50"]["rows_per_second"] > 0
    assert found["calls"] is None
    assert len(scores_of(plan, cells)) == 2


def test_every_way_beside_every_other() -> None:
    found = compared({"a": [[1.0] * 50], "b": [[0.0] * 50], "c": [[1.0] * 50]})
    assert set(found["a"]) == {"b", "c"}
    assert found["a"]["b"] == {"difference": 1.0, "low": 1.0, "high": 1.0, "verdict": "better"}
    assert found["b"]["a"]["verdict"] == "worse"
    assert found["a"]["c"]["verdict"] == "no difference shown"
