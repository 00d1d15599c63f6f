"""Keeps the random generators of seeded requests on a CPU while their text is prefilled in chunks.

vLLM samples a token after each chunk, discards it, and moves the generator back by `set_offset`, which torch's CPU
generators lack. The worker then fails, and vLLM with it (vLLM 0.32: `GPUModelRunner._bookkeeping_sync`). So the
generator's state is saved before the token is drawn and restored afterwards, and vLLM does not see the generator
meanwhile.
"""

from __future__ import annotations

import functools
import sys
from typing import Any

import numpy as np

RUNNER_MODULE = "vllm.v1.worker.cpu_model_runner"
_IS_PATCHED = "_softprompt_restores_generators"


def patch_cpu_model_runner() -> None:
    """Patch vLLM's model runner for CPUs, in a worker that uses it. Idempotent."""
    module = sys.modules.get(RUNNER_MODULE)
    if module is None or hasattr(module.CPUModelRunner, _IS_PATCHED):
        return
    runner_class = module.CPUModelRunner
    sample, finish_sampling = runner_class._sample, runner_class._bookkeeping_sync

    @functools.wraps(sample)
    def sample_and_restore(runner: Any, *args: Any, **kwargs: Any) -> Any:
        generators = _find_discarded_generators(runner).values()
        states = [generator.get_state() for generator in generators]
        output = sample(runner, *args, **kwargs)
        for generator, state in zip(generators, states, strict=True):
            generator.set_state(state)
        return output

    @functools.wraps(finish_sampling)
    def finish_without_generators(runner: Any, *args: Any, **kwargs: Any) -> Any:
        discarded = _find_discarded_generators(runner)
        for index in discarded:
            del runner.input_batch.generators[index]
        try:
            return finish_sampling(runner, *args, **kwargs)
        finally:
            runner.input_batch.generators.update(discarded)

    runner_class._sample = sample_and_restore
    runner_class._bookkeeping_sync = finish_without_generators
    setattr(runner_class, _IS_PATCHED, True)


def _find_discarded_generators(runner: Any) -> dict[int, Any]:
    """Return the generators, by the request's index, of the requests whose sampled token is discarded."""
    batch = runner.input_batch
    indices = np.nonzero(runner.discard_request_mask.np[: batch.num_reqs])[0].tolist()
    return {index: batch.generators[index] for index in indices if index in batch.generators}
