"""The compared systems that generate responses to many requests: our engine, and peft."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import torch
from peft import PeftModel

from benchmarks.lib.serving_workload import GenerateBatch, ServingWorkload, TokenBatch
from softprompt.engine import Engine, EngineRequest, SamplingParams, TokenOutput
from softprompt.model import FrozenModel, KVPrefix
from softprompt.saved import SavedPrompt
from softprompt.tasks import GenerationTask


def make_saved_prompt(model: FrozenModel, prefix: KVPrefix, number: int) -> SavedPrompt:
    """Make a saved prompt of a tenant's prefix."""
    return SavedPrompt.from_payload(
        model,
        prefix,
        GenerationTask(),
        method={"name": "prefix", "seed": number},
        trained_parameters=prefix.tensor.numel(),
    )


class EngineSystem:
    """Our engine.

    Args:
        workload: inputs and prefixes.
        slots: number of concurrent sequences.
    """

    def __init__(self, workload: ServingWorkload, slots: int):
        self._workload, self._engine = (
            workload,
            Engine(workload.model, max_num_seqs=slots, max_model_len=workload.max_length),
        )

    def generate_with_prefixes(self, texts: TokenBatch, _round: int = 0) -> TokenBatch:
        """Generate a response to each text with the prefix of its own tenant."""
        return self._generate(texts, with_prefixes=True)

    def generate_bare(self, texts: TokenBatch, _round: int = 0) -> TokenBatch:
        """Generate with the base model alone."""
        return self._generate(texts, with_prefixes=False)

    def _generate(self, texts: TokenBatch, *, with_prefixes: bool) -> TokenBatch:
        written: TokenBatch = [[] for _ in texts]
        sampling = SamplingParams(max_new_tokens=self._workload.new_tokens, ignore_eos=True)
        for tenant, text in enumerate(texts):
            payload = self._workload.get_prefix(tenant) if with_prefixes else None
            self._engine.add_request(
                EngineRequest(tuple(text), sampling, str(tenant)), payload, collect_tokens_into(written[tenant])
            )
        while not self._engine.is_idle:
            self._engine.step()
        return written


def collect_tokens_into(tokens: list[int]) -> Callable[[TokenOutput], None]:
    """Return a callback that appends each token to a list."""
    return lambda written: tokens.append(written.token_id) if written.token_id is not None else None


class PeftSystem:
    """peft, whose `generate` runs one prefix at a time, with all adapters loaded before.

    Args:
        workload: inputs and prefixes.
        model: a copy of the model for peft alone.
        tenants: tenants with adapters.
        tenants_per_round: tenants per round, in turn, because all take the same time.
        folder: folder for the adapters.
    """

    def __init__(
        self, workload: ServingWorkload, model: FrozenModel, tenants: int, tenants_per_round: int, folder: Path
    ):
        self._workload, self._tenants, self._tenants_per_round = workload, tenants, tenants_per_round
        for tenant in range(tenants):
            make_saved_prompt(workload.model, workload.get_prefix(tenant), tenant).save_to(folder / str(tenant))
        network = model.network
        network.generation_config.eos_token_id = (
            None  # continues after the end-of-text token without a logits processor
        )
        network.generation_config.pad_token_id = model.eos_token_id
        self._wrapped = PeftModel.from_pretrained(network, folder / "0", "0").eval()
        for tenant in range(1, tenants):
            self._wrapped.load_adapter(folder / str(tenant), str(tenant))

    def get_round_tenants(self, round_index: int) -> list[int]:
        """Return the tenants of a round."""
        first = round_index * self._tenants_per_round
        return [tenant % self._tenants for tenant in range(first, first + self._tenants_per_round)]

    def generate(self, texts: TokenBatch, round_index: int) -> TokenBatch:
        """Generate the responses of the round's tenants, and empty ones for the others."""
        taken = self.get_round_tenants(round_index)
        return [self._generate_text(tenant, text) if tenant in taken else [] for tenant, text in enumerate(texts)]

    def _generate_text(self, tenant: int, text: list[int]) -> list[int]:
        self._wrapped.set_adapter(str(tenant))
        ids = torch.tensor([text])
        with torch.inference_mode():
            output = self._wrapped.generate(  # type: ignore[no-untyped-call]
                input_ids=ids,
                attention_mask=torch.ones_like(ids),
                max_new_tokens=self._workload.new_tokens,
                do_sample=False,
            )
        return [int(token) for token in output[0, len(text) :]]


class CpuUsageMonitor:
    """A system, with the CPU usage of other processes while it runs.

    Args:
        generate: the system.
        get_other_cpu_seconds: returns the CPU seconds that the others have used so far.
    """

    def __init__(self, generate: GenerateBatch, get_other_cpu_seconds: Callable[[], float]):
        self._generate, self._get_other_cpu_seconds = generate, get_other_cpu_seconds
        self._other_seconds = self._wall_seconds = 0.0

    def __call__(self, texts: TokenBatch, number: int) -> TokenBatch:
        before, began = self._get_other_cpu_seconds(), time.perf_counter()
        found = self._generate(texts, number)
        self._other_seconds += self._get_other_cpu_seconds() - before
        self._wall_seconds += time.perf_counter() - began
        return found

    @property
    def other_cores(self) -> float:
        """Mean number of cores that the others used."""
        return self._other_seconds / self._wall_seconds


def get_cpu_seconds() -> float:
    """Return the CPU seconds of this process."""
    return time.process_time()
