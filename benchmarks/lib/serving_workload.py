"""What a serving engine is asked in a benchmark: texts of random tokens, behind prefixes of as many tenants."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field

import torch

from benchmarks.lib.step_timer import Step
from softprompt.model import FrozenModel, KVPrefix, PromptEmbeddings

MIN_TEXT_TOKENS, MAX_TEXT_TOKENS = (
    12,
    29,
)  # tokens of a text, below a block of vLLM's: only prefixes are worth its prefix cache
NUM_BASE_PREFIXES = 64  # texts that prefixes start from: beyond them only their noise differs
PREFIX_NOISE = 0.02

TokenBatch = list[list[int]]
"""Rows of tokens."""

GenerateBatch = Callable[[TokenBatch, int], TokenBatch]
"""Gives what is written behind each text; it is told the round's number as well."""


@dataclass(frozen=True, eq=False)
class ServingWorkload:
    """Texts and prefixes, the same for every way that is timed.

    Attributes:
        model: what is asked.
        P: positions of a prefix.
        new_tokens: that each row writes, whatever they are.
        written: what each way wrote to which texts; ways that were given the same texts are compared.
    """

    model: FrozenModel
    P: int
    new_tokens: int
    outputs: dict[str, list[TokenBatch]] = field(default_factory=dict)
    _prefixes: dict[int, KVPrefix] = field(default_factory=dict)
    _base_prefixes: dict[int, KVPrefix] = field(default_factory=dict)

    @property
    def max_length(self) -> int:
        """Positions that a row needs."""
        return self.P + MAX_TEXT_TOKENS + self.new_tokens

    def get_prefix(self, number: int) -> KVPrefix:
        """That of a tenant, made once."""
        if number not in self._prefixes:
            self._prefixes[number] = self.make_prefix(number)
        return self._prefixes[number]

    def make_prefix(self, number: int) -> KVPrefix:
        """What random tokens leave, and noise, so that no text could have left it."""
        start = self._get_base_prefix(number % NUM_BASE_PREFIXES)
        generator = torch.Generator().manual_seed(number)
        return start.with_tensor(start.tensor + PREFIX_NOISE * torch.randn(start.tensor.shape, generator=generator))

    def _get_base_prefix(self, number: int) -> KVPrefix:
        if number not in self._base_prefixes:
            ids = torch.randint(
                self.model.shape.vocab_size, (1, self.P), generator=torch.Generator().manual_seed(number)
            )
            with torch.no_grad():
                found = self.model.compile(PromptEmbeddings(self.model.embed_tokens(ids)[0]))
            assert isinstance(found, KVPrefix)
            self._base_prefixes[number] = found
        return self._base_prefixes[number]

    def draw_texts(self, round_index: int, count: int) -> TokenBatch:
        """Those of the so-manieth round."""
        drawn = random.Random(round_index)
        V = self.model.shape.vocab_size
        return [
            [drawn.randrange(V) for _ in range(drawn.randint(MIN_TEXT_TOKENS, MAX_TEXT_TOKENS))] for _ in range(count)
        ]

    def make_step(self, name: str, count: int, generate: GenerateBatch) -> Step:
        """Return a step that generates responses to new inputs each time, and counts the generated tokens.

        Args:
            name: name of the system.
            count: number of sequences.
            generate: function of the system that generates a batch.
        """
        kept = self.outputs.setdefault(name, [])

        def run_step() -> int:
            kept.append(generate(self.draw_texts(len(kept), count), len(kept)))
            return sum(map(len, kept[-1]))

        return run_step

    def compute_agreement(self, first: str, second: str) -> float:
        """The share of the rows to which two ways wrote the same tokens."""
        pairs = [
            mine == theirs
            for batches in zip(self.outputs[first], self.outputs[second], strict=True)
            for mine, theirs in zip(*batches, strict=True)
            if mine and theirs  # peft does not answer all of them
        ]
        return sum(pairs) / len(pairs)
