"""The comparison of the engine with vLLM reports speeds and agreement. The tests do not need vLLM."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from benchmarks import engine_vs_vllm
from benchmarks.lib.serving_workload import ServingWorkload
from benchmarks.lib.vllm_system import MinimalConnectorSetup, PluginConnectorSetup
from softprompt.saved import SavedPrompt
from tests.tiny import shared_model

SPEEDS = {"4 embedded": 90.0, "4 embedded, bare": 100.0, "4 vllm": 180.0, "4 vllm, bare": 200.0}


@pytest.fixture
def asked() -> ServingWorkload:
    asked = ServingWorkload(shared_model("llama"), 4, 3)
    for way in engine_vs_vllm.SYSTEMS:
        asked.outputs[f"4 {way}"] = [[[1], [2]]]
    return asked


def test_systems_are_compared_by_speed_and_agreement(asked: ServingWorkload) -> None:
    asked.outputs["4 vllm"] = [[[1], [3]]]
    assert engine_vs_vllm.compare_systems(asked, SPEEDS, 4) == {
        "tokens_per_second": {"embedded": 90, "embedded, bare": 100, "vllm": 180, "vllm, bare": 200},
        "of_bare": {"embedded": 0.9, "vllm": 0.9},
        "vllm_to_embedded": 2,
        "same_rows": 0.5,
    }


def test_the_table_has_the_speeds_of_all_systems_and_their_ratio(asked: ServingWorkload) -> None:
    *_, row = engine_vs_vllm.format_table(
        {"tenants": {"4": engine_vs_vllm.compare_systems(asked, SPEEDS, 4)}}
    ).splitlines()
    assert row == "| 4 | 90 | 100 | 180 | 200 | 2.00 |"


def test_the_plugin_receives_saved_prompts_by_their_digests(asked: ServingWorkload, tmp_path: Path) -> None:
    plugin = PluginConnectorSetup(asked, 2, tmp_path)
    assert plugin.config["kv_connector_extra_config"] == {"artifact_location": str(tmp_path)}
    for tenant in range(2):
        [named] = plugin.get_request_params(tenant).values()
        found = SavedPrompt.from_folder(tmp_path / named["prompt_digest"])
        assert found.manifest.content_hash == f"sha256:{named['prompt_digest']}"
        assert found.payload.num_virtual_tokens == named["num_positions"]
        assert torch.equal(found.payload.tensor, asked.get_prefix(tenant).tensor)


def test_the_minimal_connector_receives_a_stored_prefix_for_each_tenant(asked: ServingWorkload, tmp_path: Path) -> None:
    harness = MinimalConnectorSetup(asked, 2, tmp_path)
    assert {path.stem for path in tmp_path.iterdir()} == {
        harness.get_request_params(tenant)["prefix"] for tenant in range(2)
    }


def test_the_benchmark_exits_without_vllm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["moving", "--vllm-python", "nowhere"])
    with pytest.raises(SystemExit):
        engine_vs_vllm.main()
