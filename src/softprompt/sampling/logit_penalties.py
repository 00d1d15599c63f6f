"""Penalties on tokens that occur in a response, and biases of tokens that the parameters name.

The cost of a token does not grow with the response, and a response without penalties and biases costs nothing.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor

from softprompt.sampling.sampling_params import SamplingParams


class TokenCounts:
    """Number of occurrences of each token in a sequence."""

    def __init__(self) -> None:
        self._indices: dict[int, int] = {}
        self._token_ids: NDArray[np.int64] = np.zeros(64, dtype=np.int64)
        self._counts: NDArray[np.float64] = np.zeros(64)

    def add_tokens(self, token_ids: Iterable[int]) -> None:
        """Count tokens."""
        for token_id in token_ids:
            index = self._indices.setdefault(token_id, len(self._indices))
            if index == len(self._token_ids):
                self._token_ids = np.append(self._token_ids, np.zeros_like(self._token_ids))
                self._counts = np.append(self._counts, np.zeros_like(self._counts))
            self._token_ids[index] = token_id
            self._counts[index] += 1

    @property
    def token_ids(self) -> Int[Tensor, "n"]:
        """Distinct token ids, in the order of their first occurrence."""
        return torch.from_numpy(self._token_ids[: len(self._indices)])

    @property
    def counts(self) -> Float[Tensor, "n"]:
        """Number of occurrences of each of `token_ids`."""
        return torch.from_numpy(self._counts[: len(self._indices)])


class LogitPenalties:
    """Penalties and biases of one response.

    Args:
        params: sampling parameters.
        prompt_token_ids: token ids of the prompt; negative ids are placeholders of virtual tokens.
        output_token_ids: tokens generated already.
    """

    def __init__(self, params: SamplingParams, prompt_token_ids: Iterable[int], output_token_ids: Iterable[int] = ()):
        self._params = params
        self._context_counts, self._output_counts = TokenCounts(), TokenCounts()
        if self._params.repetition_penalty != 1:
            self._context_counts.add_tokens(token_id for token_id in prompt_token_ids if token_id >= 0)
        self._biased_token_ids = torch.tensor(list(self._params.logit_bias), dtype=torch.long)
        self._biases = torch.tensor(list(self._params.logit_bias.values()), dtype=torch.float64)
        self.add_tokens(output_token_ids)

    def add_tokens(self, token_ids: Iterable[int]) -> None:
        """Count generated tokens."""
        token_ids = list(token_ids)
        if self._params.repetition_penalty != 1:
            self._context_counts.add_tokens(token_ids)
        if self._params.presence_penalty or self._params.frequency_penalty:
            self._output_counts.add_tokens(token_ids)

    def apply_penalties(self, logits: Float[Tensor, "V"]) -> Float[Tensor, "V"]:
        """Return a copy of the logits with penalties and biases, in float32."""
        params, logits = self._params, logits.to(torch.float32, copy=True)
        if len(token_ids := self._context_counts.token_ids.to(logits.device)):
            selected, factor = logits[token_ids], params.repetition_penalty
            logits[token_ids] = torch.where(selected > 0, selected / factor, selected * factor)
        if len(token_ids := self._output_counts.token_ids.to(logits.device)):
            penalty = params.presence_penalty + params.frequency_penalty * self._output_counts.counts
            logits[token_ids] -= penalty.to(logits)
        if len(self._biased_token_ids):
            logits[self._biased_token_ids.to(logits.device)] += self._biases.to(logits)
        return logits
