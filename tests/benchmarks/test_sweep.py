"""The sweep benchmark runs the trainings that it compares. The times of a tiny model mean nothing."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import pytest

from benchmarks import sweep
from softprompt.cli.main import run_cli
from tests.conftest import REVIEWS
from tests.tiny import tiny_model


def test_the_sweep_benchmark_trains_the_same_prompts_separately_and_jointly(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    model = tiny_model("llama")
    model.network.save_pretrained(tmp_path / "base")
    model.tokenizer.save_pretrained(tmp_path / "base")
    (tmp_path / "data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in REVIEWS), encoding="utf-8")
    made: list[list[str]] = []

    def here(command: Sequence[str], **_: object) -> SimpleNamespace:
        assert command[1:3] == ["-m", "softprompt"]
        assert run_cli([*command[3:], "--num-virtual-tokens", "3"]) == 0
        folder = Path(command[command.index("--output") + 1])
        made.append(sorted(str(path.parent.relative_to(folder)) for path in folder.rglob("softprompt.json")))
        return SimpleNamespace()

    monkeypatch.setattr("subprocess.run", here)
    monkeypatch.setattr(sweep, "SEEDS", (0,))
    data = str(tmp_path / "data.jsonl")
    options = ["--data", data, "--validation", data, "--model", str(tmp_path / "base"), "--layers", "1", "--steps", "1"]
    monkeypatch.setattr("sys.argv", ["sweep", *options])
    sweep.main()
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert found["whole_runs_2"] > 0
    assert [len(each) for each in made] == [1, 2, 1]
