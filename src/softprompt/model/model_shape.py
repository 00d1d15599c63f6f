"""Sizes of a model that a soft prompt must fit."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class ModelKind(StrEnum):
    """A kind of model, by which tokens attend to which."""

    CAUSAL = "causal"  # each token attends to the ones before it
    MASKED = "masked"  # each token attends to all
    ENCODER_DECODER = "encoder-decoder"  # text attends to the text, the answer to the text and to itself so far


@dataclass(frozen=True)
class ModelShape:
    """The sizes of a model; docs/notation.md explains the letters.

    Attributes:
        kind: which tokens attend to which.
        num_layers: L, number of layers. For an encoder-decoder, all attentions: the encoder's, the decoder's
            self-attention, the decoder's cross-attention.
        num_kv_heads: G, number of key/value heads (fewer than query heads under grouped-query attention).
        head_dim: D, dimensions of one head.
        hidden_size: H, dimensions of the last layer's output.
        embedding_size: E, dimensions of a token embedding; usually H.
        vocab_size: V, number of tokens in the vocabulary.
        window: maximum number of positions in a sequence, or on either side, virtual tokens included.
        takes_cache: whether the network accepts `past_key_values` in front of a sequence, as peft passes a prefix.
    """

    kind: ModelKind
    num_layers: int
    num_kv_heads: int
    head_dim: int
    hidden_size: int
    embedding_size: int
    vocab_size: int
    window: int
    takes_cache: bool = True

    def get_prefix_shape(self, num_virtual_tokens: int) -> tuple[int, int, int, int, int]:
        """Return the shape `[L, 2, G, P, D]` of a KV prefix."""
        return (self.num_layers, 2, self.num_kv_heads, num_virtual_tokens, self.head_dim)
