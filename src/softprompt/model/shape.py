"""The sizes of a model that a soft prompt must fit."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ModelShape:
    """Sizes in the design's letters.

    Attributes:
        num_layers: L.
        num_kv_heads: G, the key/value heads (fewer than the query heads under grouped-query attention).
        head_dim: D.
        hidden_size: H, the width of what the last layer gives.
        embedding_size: E, the width of a word's embedding: H nearly everywhere.
        vocab_size: V.
        window: the most positions a row may have, virtual tokens included.
    """

    num_layers: int
    num_kv_heads: int
    head_dim: int
    hidden_size: int
    embedding_size: int
    vocab_size: int
    window: int

    def prefix(self, num_virtual_tokens: int) -> tuple[int, int, int, int, int]:
        """The shape `[L, 2, G, P, D]` of a prefix of this many virtual tokens."""
        return (self.num_layers, 2, self.num_kv_heads, num_virtual_tokens, self.head_dim)
