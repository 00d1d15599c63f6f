"""The serving benchmark runs and reports all expected fields. Its numbers for a tiny model mean nothing.

Only vLLM is left out, which has an environment of its own.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmarks import serving_throughput
from benchmarks.lib.serving_systems import EngineSystem, PeftSystem
from benchmarks.lib.serving_workload import ServingWorkload
from tests.tiny import tiny_model

LESS = ("--rounds", "1", "--positions", "4", "--new-tokens", "3", "--rows", "4", "--peft-tenants", "3")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model, from which as many copies are loaded as there are ways that need one."""
    folder = tmp_path_factory.mktemp("model")
    model = tiny_model("llama")
    model.network.save_pretrained(folder)
    model.tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def run(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., dict[str, Any]]:
    """Run the script; gives what its JSON line says."""

    def ran(*arguments: str) -> dict[str, Any]:
        monkeypatch.setattr("sys.argv", ["serve", "--model", str(folder), *LESS, *arguments])
        serving_throughput.main()
        found: dict[str, Any] = json.loads(capsys.readouterr().out.splitlines()[-1])
        return found

    return ran


def test_the_throughput_benchmark_reports_all_expected_fields(
    run: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    found = run("--parts", "tenants,prefixes", "--output", str(tmp_path / "serve.json"))
    assert set(found) == {"benchmark", "command", "machine", "tenants", "prefixes"}
    assert set(found["tenants"]) == {"tokens_per_second", "ratio", "same_rows", "goal"}
    assert set(found["prefixes"]) == {"tokens_per_second", "ratio", "goal"}
    assert found["tenants"]["same_rows"] == 1
    assert all(math.isfinite(found[part]["ratio"]) for part in ("tenants", "prefixes"))
    assert json.loads((tmp_path / "serve.json").read_text("utf-8")) == found


def test_many_registered_prompts_stay_within_the_memory_limit(
    run: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    options = ("--registered", "1,12", "--requests", "40", "--tier", "0.2", "--stores", str(tmp_path))
    found = run("--parts", "registered", *options)["registered"]
    assert set(found["tokens_per_second"]) == set(found["ratios"]) == set(found["in_memory"]) == {"1", "12"}
    few, many = (found["in_memory"][count] for count in ("1", "12"))
    assert 0 < few["most_mebibytes"] < many["most_mebibytes"] <= 0.2
    assert 0 < many["hits"] < few["hits"] < 1


def test_the_tenants_of_peft_take_turns(tmp_path: Path) -> None:
    asked = ServingWorkload(tiny_model("llama"), 4, 3)
    peft = PeftSystem(asked, tiny_model("llama"), tenants=5, tenants_per_round=2, folder=tmp_path)
    assert [peft.get_round_tenants(number) for number in range(3)] == [[0, 1], [2, 3], [4, 0]]
    texts = asked.draw_texts(0, 5)
    written = peft.generate(texts, 1)
    assert [len(each) for each in written] == [0, 0, 3, 3, 0]
    assert written[2:4] == EngineSystem(asked, 5).generate_with_prefixes(texts)[2:4]


def test_a_prefix_changes_the_generated_texts() -> None:
    asked = ServingWorkload(tiny_model("llama"), 4, 8)
    ours, texts = EngineSystem(asked, 4), asked.draw_texts(0, 4)
    assert all(
        one != other for one, other in zip(ours.generate_with_prefixes(texts), ours.generate_bare(texts), strict=True)
    )


def test_agreement_counts_sequences_that_both_systems_generated() -> None:
    asked = ServingWorkload(tiny_model("llama"), 4, 3)
    asked.outputs.update(one=[[[1], [2]], [[3], [4]]], other=[[[1], [9]], [[], [4]]])
    assert asked.compute_agreement("one", "other") == pytest.approx(2 / 3)


@pytest.mark.parametrize("options", [("--vllm-python", "nowhere"), ("--vllm-python", __file__, "--positions", "33")])
def test_a_missing_vllm_is_reported_before_any_measurement(
    run: Callable[..., dict[str, Any]], options: list[str]
) -> None:
    with pytest.raises(SystemExit):
        run(*options)
