"""Models that generate: they read sequences once and then decode token by token."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

from jaxtyping import Bool, Float, Int
from torch import Tensor

from softprompt.model.frozen_model import FrozenModel
from softprompt.model.payload_batch import BatchPayloads


@dataclass(frozen=True)
class DecodingState:
    """The decoding state of a batch.

    Attributes:
        last_hidden_state: `[B, H]`, hidden states that predict the next token of each sequence.
        append_tokens: function that appends one token per sequence, `[B]`, and returns the next state. It mutates the
            KV cache, so the previous state must not be used again.
    """

    last_hidden_state: Float[Tensor, "B H"]
    append_tokens: Callable[[Int[Tensor, "B"]], DecodingState]


class GenerativeModel(FrozenModel):
    """The interface that causal models and encoder-decoders share."""

    @abstractmethod
    def start_decoding(
        self, input_ids: Int[Tensor, "B T"], attention_mask: Bool[Tensor, "B T"], payloads: BatchPayloads
    ) -> DecodingState:
        """Read right-padded sequences, each with its compiled payload, and return the state to decode from."""
