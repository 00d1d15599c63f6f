"""The ways to answer many requests that are timed: our engine, and peft one tenant after the other."""

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


def make_saved_prompt(workload: ServingWorkload, prefix: KVPrefix, number: int) -> SavedPrompt:
    """A tenant's prefix as a saved prompt."""
    return SavedPrompt.from_payload(
        workload.model,
        prefix,
        GenerationTask(),
        method={"name": "prefix", "seed": number},
        trained_parameters=prefix.tensor.numel(),
    )


class EngineSystem:
    """Our engine.

    Args:
        asked: what it will be asked.
        slots: rows at once.
    """

    def __init__(self, workload: ServingWorkload, slots: int):
        self._workload, self._engine = (
            workload,
            Engine(workload.model, max_num_seqs=slots, max_model_len=workload.max_length),
        )

    def generate_with_prefixes(self, texts: TokenBatch, _round: int = 0) -> TokenBatch:
        """Each text behind the prefix of a tenant of its own."""
        return self._generate(texts, with_prefixes=True)

    def generate_bare(self, texts: TokenBatch, _round: int = 0) -> TokenBatch:
        """The bare model."""
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
    """What hears of each token and keeps it."""
    return lambda written: tokens.append(written.token_id) if written.token_id is not None else None


class PeftSystem:
    """peft, whose `generate` runs one prefix at a time, with all of them loaded beforehand.

    Args:
        asked: what it will be asked.
        model: a copy for it alone.
        tenants: that it has adapters of.
        at_a_time: tenants that a round takes, in turn: one takes as long as another.
        folder: for the adapters.
    """

    def __init__(
        self, workload: ServingWorkload, model: FrozenModel, tenants: int, tenants_per_round: int, folder: Path
    ):
        self._workload, self._tenants, self._tenants_per_round = workload, tenants, tenants_per_round
        for tenant in range(tenants):
            make_saved_prompt(workload, workload.get_prefix(tenant), tenant).save_to(folder / str(tenant))
        network = model.network
        network.generation_config.eos_token_id = None  # goes on behind it, without a logits processor
        network.generation_config.pad_token_id = model.eos_token_id
        self._wrapped = PeftModel.from_pretrained(network, folder / "0", "0").eval()
        for tenant in range(1, tenants):
            self._wrapped.load_adapter(folder / str(tenant), str(tenant))

    def get_round_tenants(self, round_index: int) -> list[int]:
        """Those of the so-manieth round."""
        first = round_index * self._tenants_per_round
        return [tenant % self._tenants for tenant in range(first, first + self._tenants_per_round)]

    def generate(self, texts: TokenBatch, round_index: int) -> TokenBatch:
        """What the round's tenants write; nothing for the others."""
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
    """An answer, while which it is seen what others take of the CPUs.

    Args:
        answer: it.
        processor_seconds: what the others have had until now.
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
        """The cores that they kept busy, on average."""
        return self._other_seconds / self._wall_seconds


def get_cpu_seconds() -> float:
    """What this process has had of the CPUs."""
    return time.process_time()
