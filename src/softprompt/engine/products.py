"""Attention as torch's products of matrices, on any device and in any precision."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from softprompt.engine.slots import Segment, Slots


def products(
    queries: Float[Tensor, "B A T D"],
    keys: Float[Tensor, "B A S D"],
    values: Float[Tensor, "B A S D"],
    mask: Float[Tensor, "_ _ S"],
    scale: float,
    softcap: float | None,
) -> Float[Tensor, "B A T D"]:
    """What queries find; `mask` is added to what they make of keys."""
    asked, known = queries.flatten(0, 1), keys.flatten(0, 1)
    weights = torch.bmm(known, asked.transpose(1, 2)).transpose(1, 2)  # keys first: they are read as they lie
    if softcap is None:
        weights = torch.add(mask, weights, alpha=scale)
    else:
        weights = softcap * torch.tanh(weights * (scale / softcap)) + mask
    shares = weights.softmax(dim=-1, dtype=torch.float32).to(values.dtype)
    return torch.bmm(shares, values.flatten(0, 1)).view(queries.shape)


class Products:
    """The attention of a step's rows of one token each, all in one product; see `OfSingle`.

    Of each row as much is read as of the longest, and rows that stand between them are read too. A fused kernel
    of torch's would cut the queries into blocks, of which there is one.
    """

    def __init__(self, slots: Slots, single: Sequence[Segment]):
        self._slots, self._at, device = slots, slots.places(single), slots.keys.device
        self._rows = torch.tensor([s.slot for s in single], device=device, dtype=torch.long)
        self._all = [s.slot for s in single] == list(range(len(single)))
        self._count = single[-1].slot + 1
        self._longest = max(s.behind + 1 for s in single)
        ends = torch.ones(self._count, 1, dtype=torch.long, device=device)  # a row that asks nothing sees something
        ends[self._rows, 0] = torch.tensor([s.behind + 1 for s in single], device=device, dtype=torch.long)
        mask = slots.added(torch.arange(self._longest, device=device) < ends)
        self._mask = mask.repeat_interleave(slots.keys.shape[2], dim=0).unsqueeze(1)

    def attend(
        self,
        layer: int,
        queries: Float[Tensor, "A n D"],
        keys: Float[Tensor, "G n D"],
        values: Float[Tensor, "G n D"],
        found: Float[Tensor, "n A D"],
        scale: float,
        softcap: float | None,
    ) -> None:
        """See `OfSingle`."""
        self._slots.write(layer, self._at, keys, values)
        A, n, D = queries.shape
        asked = queries.transpose(0, 1).reshape(n, len(keys), -1, D)
        if not self._all:
            asked = asked.new_zeros(self._count, *asked.shape[1:]).index_copy(0, self._rows, asked)
        seen = (slice(self._count), slice(None), slice(self._longest))
        own_keys, own_values = self._slots.keys[layer], self._slots.values[layer]
        answer = products(asked, own_keys[seen], own_values[seen], self._mask, scale, softcap)
        found[:] = (answer if self._all else answer[self._rows]).reshape(n, A, D)
