"""Penalties on tokens that a row has, and biases of tokens that its request names.

A token costs the same whenever it is written, and a row without either costs nothing.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor

from softprompt.engine.request import Request, Sampling


class TokenCounts:
    """How often each token of a text occurs in it."""

    def __init__(self) -> None:
        self._places: dict[int, int] = {}
        self._tokens: NDArray[np.int64] = np.zeros(64, dtype=np.int64)
        self._counts: NDArray[np.float64] = np.zeros(64)

    def add(self, tokens: Iterable[int]) -> None:
        """Count tokens."""
        for token in tokens:
            place = self._places.setdefault(token, len(self._places))
            if place == len(self._tokens):
                self._tokens = np.append(self._tokens, np.zeros_like(self._tokens))
                self._counts = np.append(self._counts, np.zeros_like(self._counts))
            self._tokens[place] = token
            self._counts[place] += 1

    @property
    def tokens(self) -> Int[Tensor, "n"]:
        """Each token once, in the order of their first occurrences."""
        return torch.from_numpy(self._tokens[: len(self._places)])

    @property
    def counts(self) -> Float[Tensor, "n"]:
        """How often each of `tokens` occurs."""
        return torch.from_numpy(self._counts[: len(self._places)])


class Penalties:
    """Penalties and biases of one row.

    Args:
        request: the row's.
        written: tokens that it has written already.
    """

    def __init__(self, request: Request, written: Iterable[int] = ()):
        self._sampling = request.sampling
        self._seen, self._written = TokenCounts(), TokenCounts()
        if self._sampling.repetition_penalty != 1:
            self._seen.add(token for token in request.ids if token >= 0)  # virtual tokens are no tokens
        self._biased = torch.tensor(list(self._sampling.logit_bias), dtype=torch.long)
        self._biases = torch.tensor(list(self._sampling.logit_bias.values()), dtype=torch.float64)
        self.add(written)

    def add(self, tokens: Iterable[int]) -> None:
        """Count tokens that were written."""
        tokens = list(tokens)
        if self._sampling.repetition_penalty != 1:
            self._seen.add(tokens)
        if self._sampling.presence_penalty or self._sampling.frequency_penalty:
            self._written.add(tokens)

    def apply(self, logits: Float[Tensor, "V"]) -> Float[Tensor, "V"]:
        """The row's logits with its penalties and biases, float32."""
        sampling, logits = self._sampling, logits.to(torch.float32, copy=True)
        if len(tokens := self._seen.tokens.to(logits.device)):
            some, factor = logits[tokens], sampling.repetition_penalty
            logits[tokens] = torch.where(some > 0, some / factor, some * factor)
        if len(tokens := self._written.tokens.to(logits.device)):
            lost = sampling.presence_penalty + sampling.frequency_penalty * self._written.counts
            logits[tokens] -= lost.to(logits)
        if len(self._biased):
            logits[self._biased.to(logits.device)] += self._biases.to(logits)
        return logits


def build_penalties(request: Request, written: Iterable[int] = ()) -> Penalties | None:
    """A row's penalties; None where nothing is penalised, which costs nothing."""
    return Penalties(request, written) if has_penalties(request.sampling) else None


def has_penalties(sampling: Sampling) -> bool:
    """Whether any logits are to be changed."""
    penalties = (sampling.presence_penalty, sampling.frequency_penalty, sampling.repetition_penalty - 1)
    return any(penalties) or bool(sampling.logit_bias)
