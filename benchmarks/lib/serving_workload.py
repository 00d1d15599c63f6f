"""The workload of the serving benchmarks: texts of random tokens, with a prefix per tenant."""

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
)  # tokens of a text, less than a block of vLLM's, so that only prefixes are cached
NUM_BASE_PREFIXES = 64  # distinct texts for prefixes; further prefixes differ only in their noise
PREFIX_NOISE = 0.02

TokenBatch = list[list[int]]
"""Rows of tokens."""

GenerateBatch = Callable[[TokenBatch, int], TokenBatch]
"""Generates a response to each text; called with the texts and the number of the round."""


@dataclass(frozen=True, eq=False)
class ServingWorkload:
    """Texts and prefixes, the same for all compared systems.

    Attributes:
        model: the model.
        P: length of a prefix in positions.
        new_tokens: number of tokens that each sequence generates.
        outputs: generated tokens of each system by its texts, to compare systems with the same texts.
    """

    model: FrozenModel
    P: int
    new_tokens: int
    outputs: dict[str, list[TokenBatch]] = field(default_factory=dict)
    _prefixes: dict[int, KVPrefix] = field(default_factory=dict)
    _base_prefixes: dict[int, KVPrefix] = field(default_factory=dict)

    @property
    def max_length(self) -> int:
        """Number of positions of a sequence."""
        return self.P + MAX_TEXT_TOKENS + self.new_tokens

    def get_prefix(self, number: int) -> KVPrefix:
        """Return the prefix of a tenant, made once."""
        if number not in self._prefixes:
            self._prefixes[number] = self.make_prefix(number)
        return self._prefixes[number]

    def make_prefix(self, number: int) -> KVPrefix:
        """Make a prefix of random tokens' keys and values plus noise, so that no text has these values."""
        start = self._get_base_prefix(number % NUM_BASE_PREFIXES)
        generator = torch.Generator().manual_seed(number)
        return start.with_tensor(start.tensor + PREFIX_NOISE * torch.randn(start.tensor.shape, generator=generator))

    def _get_base_prefix(self, number: int) -> KVPrefix:
        if number not in self._base_prefixes:
            ids = torch.randint(
                self.model.shape.vocab_size, (1, self.P), generator=torch.Generator().manual_seed(number)
            )
            with torch.no_grad():
                found = self.model.compile_payload(PromptEmbeddings(self.model.embed_tokens(ids)[0]))
            assert isinstance(found, KVPrefix)
            self._base_prefixes[number] = found
        return self._base_prefixes[number]

    def draw_texts(self, round_index: int, count: int) -> TokenBatch:
        """Draw the texts of a round."""
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
        """Return the share of the sequences for which two systems generated the same tokens."""
        pairs = [
            mine == theirs
            for batches in zip(self.outputs[first], self.outputs[second], strict=True)
            for mine, theirs in zip(*batches, strict=True)
            if mine and theirs  # peft generates only some of them
        ]
        return sum(pairs) / len(pairs)
