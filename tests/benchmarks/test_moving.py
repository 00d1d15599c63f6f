"""The comparison of the two engines says what was measured. vLLM itself has an environment of its own."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from benchmarks import moving
from benchmarks.rows import Asked
from benchmarks.vllm_peer import Harness, Plugin
from softprompt.saved import SavedPrompt
from tests.tiny import shared_model

SPEEDS = {"4 embedded": 90.0, "4 embedded, bare": 100.0, "4 vllm": 180.0, "4 vllm, bare": 200.0}


@pytest.fixture
def asked() -> Asked:
    asked = Asked(shared_model("llama"), 4, 3)
    for way in moving.WAYS:
        asked.written[f"4 {way}"] = [[[1], [2]]]
    return asked


def test_what_is_compared(asked: Asked) -> None:
    asked.written["4 vllm"] = [[[1], [3]]]
    assert moving.compared(asked, SPEEDS, 4) == {
        "tokens_per_second": {"embedded": 90, "embedded, bare": 100, "vllm": 180, "vllm, bare": 200},
        "of_bare": {"embedded": 0.9, "vllm": 0.9},
        "vllm_to_embedded": 2,
        "same_rows": 0.5,
    }


def test_the_table_is_that_of_the_page(asked: Asked) -> None:
    *_, row = moving.table({"tenants": {"4": moving.compared(asked, SPEEDS, 4)}}).splitlines()
    assert row == "| 4 | 90 | 100 | 180 | 200 | 2.00 |"


def test_the_plugin_gets_saved_prompts_by_their_hashes(asked: Asked, tmp_path: Path) -> None:
    plugin = Plugin(asked, 2, tmp_path)
    assert plugin.config["kv_connector_extra_config"] == {"prompts": str(tmp_path)}
    for tenant in range(2):
        [named] = plugin.named(tenant).values()
        found = SavedPrompt.read(tmp_path / named["prompt"])
        assert found.manifest.content_hash == f"sha256:{named['prompt']}"
        assert found.payload.num_virtual_tokens == named["positions"]
        assert torch.equal(found.payload.tensor, asked.prefix(tenant).tensor)


def test_the_harness_gets_the_same_ones(asked: Asked, tmp_path: Path) -> None:
    harness = Harness(asked, 2, tmp_path)
    assert {path.stem for path in tmp_path.iterdir()} == {harness.named(tenant)["prefix"] for tenant in range(2)}


def test_without_vllm_nothing_is_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["moving", "--vllm-python", "nowhere"])
    with pytest.raises(SystemExit):
        moving.main()
