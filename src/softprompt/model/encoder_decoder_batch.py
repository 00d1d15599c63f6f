"""The two sides of an encoder-decoder's batch: tokens of either side, and what the encoder passes to the decoder."""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Bool, Float, Int
from torch import Tensor


@dataclass(frozen=True)
class RightPaddedTokens:
    """The encoder's or the decoder's tokens of a batch, right-padded.

    Attributes:
        input_ids: token ids `[B, T]`.
        attention_mask: `[B, T]`, False at padding.
    """

    input_ids: Int[Tensor, "B T"]
    attention_mask: Bool[Tensor, "B T"]

    @classmethod
    def from_selection(cls, input_ids: Int[Tensor, "B T"], selected: Bool[Tensor, "B T"]) -> RightPaddedTokens:
        """Take the selected tokens of each sequence, in their order."""
        first = selected.long().argsort(dim=1, descending=True, stable=True)[:, : int(selected.sum(dim=1).max())]
        mask = selected.gather(1, first)
        return cls(input_ids.gather(1, first) * mask, mask)


@dataclass(frozen=True)
class EncoderOutput:
    """The encoder's output and the decoder's prefix.

    Attributes:
        hidden_states: `[B, T, H]`, output of the encoder.
        attention_mask: `[B, T]`, False at padding.
        decoder_prefix: `[l, 2, b, G, P, D]`, keys and values for the decoder (b is 1 or B), or None.
        prefix_mask: `[B, P]`, which prefix positions each sequence attends to.
    """

    hidden_states: Float[Tensor, "B T H"]
    attention_mask: Bool[Tensor, "B T"]
    decoder_prefix: Float[Tensor, "l 2 b G P D"] | None
    prefix_mask: Bool[Tensor, "B P"]

    def select_sequences(self, indices: Int[Tensor, "M"]) -> EncoderOutput:
        """Select sequences by index; an index may occur several times."""
        prefix = self.decoder_prefix
        if prefix is not None and prefix.shape[2] > 1:
            prefix = prefix[:, :, indices]
        return EncoderOutput(
            self.hidden_states[indices], self.attention_mask[indices], prefix, self.prefix_mask[indices]
        )
