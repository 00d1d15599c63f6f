"""Random generators of seeded requests on a CPU, by a model runner that moves them as vLLM's does."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from softprompt.vllm.cpu_generators import RUNNER_MODULE, patch_cpu_model_runner


class DrawingRunner:
    """Model runner that draws a number for each request, and moves the generators of discarded ones back."""

    def __init__(self, discarded: list[bool]):
        generators = {index: torch.Generator().manual_seed(index) for index in range(len(discarded))}
        self.input_batch = SimpleNamespace(num_reqs=len(discarded), generators=generators)
        self.discard_request_mask = SimpleNamespace(np=np.array(discarded))

    def _sample(self) -> list[float]:
        return [
            torch.rand(1, generator=generator).item() for _, generator in sorted(self.input_batch.generators.items())
        ]

    def _bookkeeping_sync(self) -> None:
        for index in np.nonzero(self.discard_request_mask.np)[0]:
            if (generator := self.input_batch.generators.get(int(index))) is not None:
                generator.set_offset(generator.get_offset() - 4)


@pytest.fixture(autouse=True)
def _patched_runner(monkeypatch: pytest.MonkeyPatch) -> None:
    class CPUModelRunner(DrawingRunner):
        pass

    monkeypatch.setitem(sys.modules, RUNNER_MODULE, SimpleNamespace(CPUModelRunner=CPUModelRunner))  # type: ignore[arg-type]
    patch_cpu_model_runner()
    patch_cpu_model_runner()  # has no further effect


def step(runner: DrawingRunner) -> list[float]:
    drawn = runner._sample()
    runner._bookkeeping_sync()
    return drawn


def make_runner(discarded: list[bool]) -> DrawingRunner:
    runner: DrawingRunner = sys.modules[RUNNER_MODULE].CPUModelRunner(discarded)
    return runner


def test_a_generator_draws_the_same_number_after_a_discarded_token() -> None:
    runner = make_runner([True, False])
    first, second = step(runner), step(runner)
    assert first[0] == second[0]
    assert first[1] != second[1]


def test_generators_stay_with_their_requests() -> None:
    runner = make_runner([True, False, True])
    before = dict(runner.input_batch.generators)
    step(runner)
    assert runner.input_batch.generators == before


def test_torch_cannot_move_the_generator_of_a_cpu() -> None:
    """Otherwise the patch is not needed any more."""
    with pytest.raises(RuntimeError, match="offset"):
        torch.Generator().get_offset()
