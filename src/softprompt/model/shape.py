"""The sizes of a model that a soft prompt must fit."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """How the tokens of a row see one another."""

    CAUSAL = "causal"  # each sees those in front of it
    MASKED = "masked"  # each sees all
    ENCODER_DECODER = "encoder-decoder"  # those of the text see all, those of the answer the text and those before them


@dataclass(frozen=True)
class ModelShape:
    """Sizes in the design's letters.

    Attributes:
        kind: how its tokens see one another.
        num_layers: L; of an encoder-decoder all that attend: the encoder's, then the decoder's, then their attention to
            the encoder once more.
        num_kv_heads: G, the key/value heads (fewer than the query heads under grouped-query attention).
        head_dim: D.
        hidden_size: H, the width of what the last layer gives.
        embedding_size: E, the width of a word's embedding: H nearly everywhere.
        vocab_size: V.
        window: the most positions a row may have, or either side of it, virtual tokens included.
        takes_cache: the network accepts keys and values in front of a row, which is how peft hands it a prefix.
    """

    kind: Kind
    num_layers: int
    num_kv_heads: int
    head_dim: int
    hidden_size: int
    embedding_size: int
    vocab_size: int
    window: int
    takes_cache: bool = True

    def prefix(self, num_virtual_tokens: int) -> tuple[int, int, int, int, int]:
        """The shape `[L, 2, G, P, D]` of a prefix of this many virtual tokens."""
        return (self.num_layers, 2, self.num_kv_heads, num_virtual_tokens, self.head_dim)
