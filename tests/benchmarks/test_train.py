"""The training speed benchmark runs and reports all expected fields. Its numbers for a tiny model mean nothing."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from benchmarks import train
from benchmarks.lib.random_models import create_random_model, make_random_examples

ROOT = Path(__file__).parents[2]
KEPT = json.loads((ROOT / "benchmarks/results/train.json").read_text("utf-8"))


@pytest.fixture(autouse=True)
def tiny(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    examples = make_random_examples(24)
    rows = [json.dumps({"text": example.get_text("text"), "label": example.get_text("label")}) for example in examples]
    (tmp_path / "data.jsonl").write_text("\n".join(rows), encoding="utf-8")
    model = create_random_model("tiny", "float32", "cpu", rows)
    monkeypatch.setattr("softprompt.load_model", lambda *_, **__: model)
    monkeypatch.chdir(tmp_path)


def ran(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    monkeypatch.setattr("sys.argv", ["train", "--data", "data.jsonl", "--rounds", "1", *arguments])
    train.main()
    found: dict[str, Any] = json.loads(capsys.readouterr().out.splitlines()[-1])
    return found


def test_the_train_benchmark_reports_the_same_fields_as_the_stored_result(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = ran(monkeypatch, capsys)
    assert set(found) == set(KEPT) - {"benchmark", "command", "machine"}
    assert len(found["useful_tokens_per_second"]) == len(KEPT["useful_tokens_per_second"])
    assert all(math.isfinite(speed) for speed in found["useful_tokens_per_second"].values())


def test_joint_gain_is_measured_and_plotted(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = ran(monkeypatch, capsys, "--together", "1,3", "--plot", "gain.png")
    assert set(found) == {"together", "rows_per_prompt", "rounds"}
    assert set(found["together"]) == {"all layers", "top half"}
    assert all(set(curve) == {"1", "3"} for curve in found["together"].values())
    assert Path("gain.png").stat().st_size > 0
