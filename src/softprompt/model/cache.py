"""Keys and values that stand in front of a row's new tokens, in the form transformers' models read.

Three kinds, each for one job: `ReadOnlyLayer` lends a prefix to a forward pass and keeps nothing (so that gradient
checkpointing may run a layer twice), `CaptureLayer` records what a layer computes, and transformers' own
`DynamicLayer` grows while text is generated.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from transformers.cache_utils import Cache, CacheLayerMixin, DynamicLayer

from softprompt.model.payload import Ground, Payload, Prefix


class ReadOnlyLayer(CacheLayerMixin):
    """Lends `[b, G, P, D]` keys and values to every row of a batch (b is 1 or B) and stores nothing."""

    def __init__(self, keys: Tensor, values: Tensor):
        super().__init__()  # type: ignore[no-untyped-call]
        self.keys, self.values = keys, values
        self.is_initialized = True

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        """Nothing to do: the keys and values are given."""

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:  # noqa: ARG002
        """The lent keys and values, then the new ones, each `[B, G, P + T, D]`."""
        assert self.keys is not None
        assert self.values is not None
        B = key_states.shape[0]
        keys = torch.cat([self.keys.to(key_states.dtype).expand(B, -1, -1, -1), key_states], dim=2)
        values = torch.cat([self.values.to(value_states.dtype).expand(B, -1, -1, -1), value_states], dim=2)
        return keys, values

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """Length and offset of the keys that a query of this many tokens sees."""
        return self.get_seq_length() + query_length, 0

    def get_seq_length(self) -> int:
        """P."""
        assert self.keys is not None
        return self.keys.shape[2]

    def get_max_length(self) -> int:
        """No maximum."""
        return -1


class PastlessLayer(CacheLayerMixin):
    """A layer with nothing in front of the tokens it sees, there to look at what a forward pass computes."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        """Nothing to allocate."""

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """There is no past."""
        return query_length, 0

    def get_seq_length(self) -> int:
        """There is no past."""
        return 0

    def get_max_length(self) -> int:
        """No maximum."""
        return -1


class CaptureLayer(PastlessLayer):
    """Keeps the keys and values of the one forward pass it sees, with their graph. Seeing it twice changes nothing."""

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:  # noqa: ARG002
        """Remember both and hand them back."""
        self.keys, self.values = key_states, value_states
        return key_states, value_states

    @property
    def captured(self) -> Float[Tensor, "2 G P D"]:
        """The keys and values of the one row that was seen."""
        assert self.keys is not None
        assert self.values is not None
        return torch.cat([self.keys, self.values])


class LendingCaptureLayer(ReadOnlyLayer):
    """Lends keys and values to one row, and keeps those that are computed behind them, with their graph."""

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Remember the new ones and hand back both."""
        self.captured = torch.cat([key_states, value_states])
        return super().update(key_states, value_states, *args, **kwargs)


class Enough(Exception):
    """Raised by a cache that has seen what it was put there for, so that what is behind its layer need not run."""


class FirstLayer(PastlessLayer):
    """Keeps the first layer's values, `[B, G, T, D]`, and ends the forward pass."""

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:  # noqa: ARG002
        """Remember the values and stop."""
        self.values = value_states
        raise Enough


class PromptedCache(Cache):
    """A growing cache that knows which of its positions are real, prompt included.

    It is what `SoftPromptModel` hands out as `past_key_values`: a conversation that continues from it neither injects
    the prompt again nor forgets it.

    Attributes:
        mask: `[B, S]`, true where the cached position holds a token or a virtual token.
    """

    def __init__(self, layers: list[DynamicLayer], mask: Bool[Tensor, "B S"]):
        super().__init__(layers=list(layers))
        self.mask = mask

    def reorder_cache(self, beam_idx: Int[Tensor, "B"]) -> None:
        """Keep these rows, as beam search goes on with them."""
        super().reorder_cache(cast(torch.LongTensor, beam_idx))
        self.mask = self.mask.index_select(0, beam_idx.to(self.mask.device))


@dataclass(frozen=True)
class Past:
    """What a forward pass stands behind, in the layers from `first` on.

    Attributes:
        cache: keys and values of S positions, or None when there are none.
        mask: `[B, S]`, which of them each row has.
        virtual: `[b, P, H]` embeddings of the virtual tokens that stand inside the rows (b is 1 or B), or None.
        first: the lowest of the layers; what those below make of the rows is known, or looked up.
        grounds: what each row stands behind in the layers below.
    """

    cache: Cache | None
    mask: Bool[Tensor, "B S"]
    virtual: Float[Tensor, "b P H"] | None = None
    first: int = 0
    grounds: tuple[Ground, ...] = ()

    @property
    def lengths(self) -> Int[Tensor, "B"]:
        """The positions each row has behind it: its next token's position."""
        return self.mask.sum(dim=1)

    def behind(self, mask: Bool[Tensor, "B T"]) -> Past:
        """The state once tokens with this mask were added to the growing cache."""
        whole = torch.cat([self.mask, mask], dim=1)
        if isinstance(self.cache, PromptedCache):
            self.cache.mask = whole
        return replace(self, mask=whole, virtual=None)


def from_layer(
    payloads: Payload | Sequence[Payload | None] | None, layer: int
) -> Payload | Sequence[Payload | None] | None:
    """What rows stand behind in the layers from `layer` on; payloads that were one for several rows still are."""
    if not isinstance(payloads, Sequence):
        return payloads.above(layer) if isinstance(payloads, Prefix) else payloads
    cut = {id(each): each.above(layer) if isinstance(each, Prefix) else each for each in payloads}
    return [cut[id(each)] for each in payloads]


def prefixes(
    payloads: Payload | Sequence[Payload | None] | None, num_rows: int, device: torch.device
) -> tuple[Float[Tensor, "L 2 b G S D"] | None, Bool[Tensor, "B S"]]:
    """Keys and values in front of the rows (b is 1 or B), and which of them each row has."""
    if isinstance(payloads, Prefix):
        return shared(payloads, num_rows)
    if isinstance(payloads, Sequence):
        found = [p if isinstance(p, Prefix) else None for p in payloads]
        if some := [p for p in found if p is not None]:
            return stacked(found, like=some[0])
    return None, torch.zeros(num_rows, 0, dtype=torch.bool, device=device)


def shared(prefix: Prefix, num_rows: int) -> tuple[Float[Tensor, "L 2 1 G P D"], Bool[Tensor, "B P"]]:
    """One prefix for all rows: stored once, seen by each."""
    mask = torch.ones(num_rows, prefix.num_positions, dtype=torch.bool, device=prefix.tensor.device)
    return prefix.tensor.unsqueeze(2), mask


def stacked(prefixes: list[Prefix | None], like: Prefix) -> tuple[Float[Tensor, "L 2 B G P D"], Bool[Tensor, "B P"]]:
    """A prefix for each row, the shorter ones padded on the left; a row may have none."""
    distinct = list({id(prefix): prefix for prefix in prefixes}.values())  # laid beside each other once, then chosen
    places = {id(prefix): place for place, prefix in enumerate(distinct)}
    longest = max(0 if p is None else p.num_positions for p in distinct)
    L, _, G, _, D = like.tensor.shape
    nothing = like.tensor.new_zeros(L, 2, G, 0, D)
    each = [nothing if p is None else p.tensor for p in distinct]
    table = torch.stack([nn.functional.pad(t, (0, 0, longest - t.shape[3], 0)) for t in each], dim=2)
    rows = torch.tensor([places[id(prefix)] for prefix in prefixes], device=table.device)
    lengths = torch.tensor([t.shape[3] for t in each], device=table.device)
    mask = torch.arange(longest, device=table.device) >= longest - lengths.unsqueeze(1)
    return table.index_select(2, rows), mask[rows]


def read_only(tensor: Float[Tensor, "L 2 b G P D"], first: int = 0) -> Cache:
    """A cache that lends these keys and values to the layers from `first` on, and keeps nothing.

    Below stands the lowest of them: a network asks layer 0 for its length.
    """
    layers = [ReadOnlyLayer(keys, values) for keys, values in tensor]
    return Cache(layers=[*[layers[0]] * first, *layers])


def growing(
    tensor: Float[Tensor, "L 2 b G P D"] | None,
    mask: Bool[Tensor, "B P"],
    num_layers: int,
    dtype: torch.dtype,
) -> PromptedCache:
    """A cache that begins with these keys and values (or empty), and grows."""
    layers = [DynamicLayer() for _ in range(num_layers)]
    if tensor is not None:
        rows = mask.shape[0]
        for layer, (keys, values) in zip(layers, tensor.to(dtype), strict=True):
            layer.update(keys.expand(rows, -1, -1, -1), values.expand(rows, -1, -1, -1))
    return PromptedCache(layers, mask)
