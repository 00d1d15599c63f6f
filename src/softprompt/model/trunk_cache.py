"""What the layers below a prefix make of a text: computed once, and kept for every epoch, seed, rate and task.

Where a prefix stands in the top layers alone, what lies below depends on the text and on nothing that trains. A text is
always computed by itself, so that its states are the same in whatever batch it is wanted, and whether they were kept or
not.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from importlib.metadata import version
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

Compute = Callable[[Int[Tensor, "1 T"], int], Float[Tensor, "1 T H"]]
"""From one text's ids and the layer above the trunk to what the trunk makes of it."""


@runtime_checkable
class Store(Protocol):
    """Keeps tensors by name, as long as it can: what was put may be gone."""

    def get(self, shelf: str, keys: Sequence[bytes]) -> dict[bytes, Tensor]:
        """Those of the keys that are kept."""

    def put(self, shelf: str, tensors: dict[bytes, Tensor]) -> None:
        """Keep these, if it can be."""


class TrunkCache:
    """The states of texts in one base model.

    Args:
        store: where they are kept, with those of other models.
        base: names the weights, their precision and their configuration.
    """

    def __init__(self, store: Store, base: str):
        self.store, self.base = store, base

    def states(
        self, ids: Int[Tensor, "B T"], mask: Bool[Tensor, "B T"], last: int, compute: Compute
    ) -> Float[Tensor, "B T H"]:
        """What the layers below `last` make of each row's text; zero at padding."""
        texts = [row[keep] for row, keep in zip(ids, mask, strict=True)]
        keys = [_key(text) for text in texts]
        shelf = self._shelf(ids.device, last)
        found = {key: states.to(ids.device) for key, states in self.store.get(shelf, keys).items()}
        new: dict[bytes, Tensor] = {}
        for key, text in zip(keys, texts, strict=True):
            if key not in found:
                found[key] = new[key] = compute(text.unsqueeze(0), last)[0]
        if new:
            self.store.put(shelf, new)
        rows = torch.cat([found[key] for key in keys])
        states = rows.new_zeros(*ids.shape, rows.shape[-1])
        states[mask] = rows
        return states

    def _shelf(self, device: torch.device, last: int) -> str:
        """Everything but the text that the states depend on, to the last bit."""
        where = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
        libraries = f"torch {version('torch')}, transformers {version('transformers')}"
        return f"{self.base}, layer {last}, {where}, {torch.get_num_threads()} threads, {libraries}"


def _key(text: Int[Tensor, "T"]) -> bytes:
    return hashlib.sha256(text.cpu().numpy().tobytes()).digest()
