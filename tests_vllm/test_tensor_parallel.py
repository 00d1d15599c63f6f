"""Two workers with half the heads each answer as one does with all."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from softprompt.vllm_protocol import PromptTransferParams
from tests_vllm.factories import Row, drawn, expected, put, tiny
from tests_vllm.in_process_engine import answers, asked, running


def test_two_workers_with_half_the_heads_each_respond_as_one_worker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VLLM_CPU_OMP_THREADS_BIND", "0|1")  # a core for each
    place, model = tmp_path / "prompts", tiny(tmp_path / "tiny")
    prompts = [put(place, model, drawn(model, positions, positions)) for positions in (7, 40, 64)]
    rows = [Row([3 + (number * 7 + at * 13) % 500 for at in range(6)], prompts[number % 3]) for number in range(6)]
    lost = Row(rows[0].ids, replace(prompts[0], asked=PromptTransferParams("0" * 64, 7)))
    right = expected(model, rows, 8)
    options = {"tensor_parallel_size": 2, "distributed_executor_backend": "mp"}
    with running(Path(model.name), place, num_gpu_blocks_override=64, max_num_seqs=8, **options) as llm:
        for _ in range(2):
            found = answers(llm, rows, 8)
            assert [each.tokens for each in found] == [each.tokens for each in right]
            assert [each.logprob for each in found] == pytest.approx([each.logprob for each in right], abs=1e-3)
        ends = [each.outputs[0].finish_reason for each in asked(llm, [lost, rows[0]], 2)]
        assert ends == ["error", "length"]
