"""Attention of rows that write a token each, on a CPU: a kernel of our own."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from softprompt.engine.kernel_code import Told, run
from softprompt.engine.slots import Segment, Slots


class Kernel:
    """The attention of a step's rows of one token each; see `OfSingle`."""

    def __init__(self, slots: Slots, single: Sequence[Segment]):
        _, _, groups, length, width = slots.keys.shape
        self._lengths = np.array([s.behind + 1 for s in single], np.uint64)
        self._numbers = np.array([s.slot for s in single], np.uint64)
        self._told = Told(
            rows=len(single),
            groups=groups,
            width=width,
            longest=int(self._lengths.max()),
            lengths=self._lengths.ctypes.data,
            slots=self._numbers.ctypes.data,
            slot_stride=groups * length * width,
            head_stride=length * width,
        )
        self._slots = slots
        self._scratch: Tensor | None = None  # the model says how many heads ask

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
        told, group = self._told, len(queries) // len(keys)
        if self._scratch is None:
            told.group, self._threads = group, torch.get_num_threads()
            told.scratch_stride = (group + 1) * told.longest + group * told.width
            self._scratch = torch.empty(self._threads * told.scratch_stride, dtype=torch.float32)
            told.scratch = self._scratch.data_ptr()
        told.keys, told.values = self._slots.keys[layer].data_ptr(), self._slots.values[layer].data_ptr()
        queries, keys, values = map(_plain, (queries, keys, values))
        target = found if found.dtype == torch.float32 else found.float()  # as under autocast
        told.queries, told.queries_head, told.queries_row = queries.data_ptr(), *queries.stride()[:2]
        told.new_keys, told.new_keys_head, told.new_keys_row = keys.data_ptr(), *keys.stride()[:2]
        told.new_values, told.new_values_head, told.new_values_row = values.data_ptr(), *values.stride()[:2]
        told.found, told.scale, told.softcap = target.data_ptr(), scale, softcap or 0.0
        run(told, self._threads)
        if target is not found:
            found.copy_(target)


def _plain(numbers: Float[Tensor, "A n D"]) -> Float[Tensor, "A n D"]:
    """As the kernel reads them, by their addresses: a head's numbers side by side, four bytes each."""
    numbers = numbers.float()
    return numbers if numbers.stride(-1) == 1 else numbers.contiguous()
