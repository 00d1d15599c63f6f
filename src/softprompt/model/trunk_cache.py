"""What the lowest layers make of a text behind a ground: computed once, and kept for every epoch, seed, rate and run.

Where the top layers of a prefix train alone, what lies below depends on the text and the ground, and on nothing else. A
text is always computed by itself, so that its states are the same in whatever batch it is wanted, and whether they were
kept or not.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from importlib.metadata import version
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from softprompt.model.payload import Ground

Compute = Callable[[Int[Tensor, "1 T"], Ground], Float[Tensor, "1 T H"]]
"""From one text's ids and the ground to what the ground's layers make of it."""


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
        self, ids: Int[Tensor, "B T"], mask: Bool[Tensor, "B T"], grounds: Sequence[Ground], compute: Compute
    ) -> Float[Tensor, "B T H"]:
        """What the layers of its ground, of which all rows have as many, make of each row's text; zero at padding."""
        texts = [row[keep] for row, keep in zip(ids, mask, strict=True)]
        keys = [_key(text, ground) for text, ground in zip(texts, grounds, strict=True)]
        shelf = self._shelf(ids.device, len(grounds[0].tensor))
        found = {key: states.to(ids.device) for key, states in self.store.get(shelf, keys).items()}
        new: dict[bytes, Tensor] = {}
        for key, text, ground in zip(keys, texts, grounds, strict=True):
            if key not in found:
                found[key] = new[key] = compute(text.unsqueeze(0), ground)[0]
        if new:
            self.store.put(shelf, new)
        rows = torch.cat([found[key] for key in keys])
        states = rows.new_zeros(*ids.shape, rows.shape[-1])
        states[mask] = rows
        return states

    def _shelf(self, device: torch.device, last: int) -> str:
        """Everything but text and ground that the states depend on, to the last bit."""
        where = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
        libraries = f"torch {version('torch')}, transformers {version('transformers')}"
        return f"{self.base}, layer {last}, {where}, {torch.get_num_threads()} threads, {libraries}"


def _key(text: Int[Tensor, "T"], ground: Ground) -> bytes:
    return hashlib.sha256(ground.key + text.cpu().numpy().tobytes()).digest()
