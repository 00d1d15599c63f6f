"""What a serving engine is asked in a benchmark: texts of random tokens, behind prefixes of as many tenants."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field

import torch

from benchmarks.timing import Step
from softprompt.model import Embeddings, FrozenModel, Prefix

SHORTEST, LONGEST = 12, 29  # tokens of a text, below a block of vLLM's: only prefixes are worth its prefix cache
STARTS = 64  # texts that prefixes start from: beyond them only their noise differs
NOISE = 0.02

Batch = list[list[int]]
"""Rows of tokens."""

Answer = Callable[[Batch, int], Batch]
"""Gives what is written behind each text; it is told the round's number as well."""


@dataclass(frozen=True, eq=False)
class Asked:
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
    written: dict[str, list[Batch]] = field(default_factory=dict)
    _prefixes: dict[int, Prefix] = field(default_factory=dict)
    _starts: dict[int, Prefix] = field(default_factory=dict)

    @property
    def length(self) -> int:
        """Positions that a row needs."""
        return self.P + LONGEST + self.new_tokens

    def prefix(self, number: int) -> Prefix:
        """That of a tenant, made once."""
        if number not in self._prefixes:
            self._prefixes[number] = self.new_prefix(number)
        return self._prefixes[number]

    def new_prefix(self, number: int) -> Prefix:
        """What random tokens leave, and noise, so that no text could have left it."""
        start = self._start(number % STARTS)
        generator = torch.Generator().manual_seed(number)
        return start.with_tensor(start.tensor + NOISE * torch.randn(start.tensor.shape, generator=generator))

    def _start(self, number: int) -> Prefix:
        if number not in self._starts:
            ids = torch.randint(
                self.model.shape.vocab_size, (1, self.P), generator=torch.Generator().manual_seed(number)
            )
            with torch.no_grad():
                found = self.model.compile(Embeddings(self.model.embed(ids)[0]))
            assert isinstance(found, Prefix)
            self._starts[number] = found
        return self._starts[number]

    def texts(self, number: int, count: int) -> Batch:
        """Those of the so-manieth round."""
        drawn = random.Random(number)
        V = self.model.shape.vocab_size
        return [[drawn.randrange(V) for _ in range(drawn.randint(SHORTEST, LONGEST))] for _ in range(count)]

    def step(self, name: str, count: int, answer: Answer) -> Step:
        """A way as a step: it answers new texts each time, and its tokens are those it wrote.

        Args:
            name: of the way.
            count: rows.
            answer: the way.
        """
        kept = self.written.setdefault(name, [])

        def step() -> int:
            kept.append(answer(self.texts(len(kept), count), len(kept)))
            return sum(map(len, kept[-1]))

        return step

    def agreement(self, one: str, other: str) -> float:
        """The share of the rows to which two ways wrote the same tokens."""
        pairs = [
            mine == theirs
            for batches in zip(self.written[one], self.written[other], strict=True)
            for mine, theirs in zip(*batches, strict=True)
            if mine and theirs  # peft does not answer all of them
        ]
        return sum(pairs) / len(pairs)
