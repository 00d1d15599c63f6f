"""The ways to answer many requests that are timed: our engine, and peft one tenant after the other."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import torch
from peft import PeftModel

from benchmarks.rows import Answer, Asked, Batch
from softprompt.engine import Engine, Request, Sampling, Written
from softprompt.model import FrozenModel, Prefix
from softprompt.saved import SavedPrompt
from softprompt.tasks import GenerationTask


def saved(asked: Asked, prefix: Prefix, number: int) -> SavedPrompt:
    """A tenant's prefix as a saved prompt."""
    return SavedPrompt.make(
        asked.model,
        prefix,
        GenerationTask(),
        method={"name": "prefix", "seed": number},
        trained_parameters=prefix.tensor.numel(),
    )


class Ours:
    """Our engine.

    Args:
        asked: what it will be asked.
        slots: rows at once.
    """

    def __init__(self, asked: Asked, slots: int):
        self._asked, self._engine = asked, Engine(asked.model, slots=slots, length=asked.length)

    def behind_prefixes(self, texts: Batch, _round: int = 0) -> Batch:
        """Each text behind the prefix of a tenant of its own."""
        return self._answered(texts, behind_prefixes=True)

    def behind_none(self, texts: Batch, _round: int = 0) -> Batch:
        """The bare model."""
        return self._answered(texts, behind_prefixes=False)

    def _answered(self, texts: Batch, *, behind_prefixes: bool) -> Batch:
        written: Batch = [[] for _ in texts]
        sampling = Sampling(max_new_tokens=self._asked.new_tokens, ignore_eos=True)
        for tenant, text in enumerate(texts):
            payload = self._asked.prefix(tenant) if behind_prefixes else None
            self._engine.add(Request(tuple(text), sampling, str(tenant)), payload, appending(written[tenant]))
        while not self._engine.is_idle:
            self._engine.step()
        return written


def appending(tokens: list[int]) -> Callable[[Written], None]:
    """What hears of each token and keeps it."""
    return lambda written: tokens.append(written.token) if written.token is not None else None


class Peft:
    """peft, whose `generate` runs one prefix at a time, with all of them loaded beforehand.

    Args:
        asked: what it will be asked.
        model: a copy for it alone.
        tenants: that it has adapters of.
        at_a_time: tenants that a round takes, in turn: one takes as long as another.
        folder: for the adapters.
    """

    def __init__(self, asked: Asked, model: FrozenModel, tenants: int, at_a_time: int, folder: Path):
        self._asked, self._tenants, self._at_a_time = asked, tenants, at_a_time
        for tenant in range(tenants):
            saved(asked, asked.prefix(tenant), tenant).write(folder / str(tenant))
        network = model.network
        network.generation_config.eos_token_id = None  # goes on behind it, without a logits processor
        network.generation_config.pad_token_id = model.eos
        self._wrapped = PeftModel.from_pretrained(network, folder / "0", "0").eval()
        for tenant in range(1, tenants):
            self._wrapped.load_adapter(folder / str(tenant), str(tenant))

    def tenants(self, number: int) -> list[int]:
        """Those of the so-manieth round."""
        first = number * self._at_a_time
        return [tenant % self._tenants for tenant in range(first, first + self._at_a_time)]

    def answer(self, texts: Batch, number: int) -> Batch:
        """What the round's tenants write; nothing for the others."""
        taken = self.tenants(number)
        return [self._generated(tenant, text) if tenant in taken else [] for tenant, text in enumerate(texts)]

    def _generated(self, tenant: int, text: list[int]) -> list[int]:
        self._wrapped.set_adapter(str(tenant))
        ids = torch.tensor([text])
        with torch.inference_mode():
            output = self._wrapped.generate(  # type: ignore[no-untyped-call]
                input_ids=ids,
                attention_mask=torch.ones_like(ids),
                max_new_tokens=self._asked.new_tokens,
                do_sample=False,
            )
        return [int(token) for token in output[0, len(text) :]]


class Watched:
    """An answer, while which it is seen what others take of the CPUs.

    Args:
        answer: it.
        processor_seconds: what the others have had until now.
    """

    def __init__(self, answer: Answer, processor_seconds: Callable[[], float]):
        self._answer, self._processor_seconds = answer, processor_seconds
        self._theirs = self._wall = 0.0

    def __call__(self, texts: Batch, number: int) -> Batch:
        before, began = self._processor_seconds(), time.perf_counter()
        found = self._answer(texts, number)
        self._theirs += self._processor_seconds() - before
        self._wall += time.perf_counter() - began
        return found

    @property
    def others(self) -> float:
        """The cores that they kept busy, on average."""
        return self._theirs / self._wall


def processor_seconds() -> float:
    """What this process has had of the CPUs."""
    return time.process_time()
