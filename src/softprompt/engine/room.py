"""Memory that is laid out once and taken as it is touched, and that the operating system gets back piece by piece."""

from __future__ import annotations

import math
import mmap
from collections.abc import Sequence

import torch
from torch import Tensor


class Room:
    """A tensor of zeros whose parts can be given back; where the system does not do that, they stay.

    Attributes:
        tensor: it.
    """

    def __init__(self, size: Sequence[int], device: torch.device, dtype: torch.dtype):
        self._map: mmap.mmap | None = None
        if device.type == "cpu" and hasattr(mmap, "MADV_DONTNEED"):
            # Private, since what is shared is not given back.
            flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
            self._map = mmap.mmap(-1, math.prod(size) * dtype.itemsize, flags=flags)
            self.tensor = torch.frombuffer(self._map, dtype=dtype).view(*size)
        else:
            self.tensor = torch.zeros(*size, device=device, dtype=dtype)

    def give_back(self, parts: Tensor) -> None:
        """Give back each row of a part of the tensor, but for what shares a page with something else.

        Args:
            parts: a view `[…, N]` of the tensor whose rows lie in one piece each. They are zeros or what they were.
        """
        if self._map is None:
            return
        width, base = parts.dtype.itemsize, self.tensor.data_ptr()
        starts = torch.tensor(0)
        for count, stride in zip(parts.shape[:-1], parts.stride()[:-1], strict=True):
            starts = (starts.unsqueeze(-1) + torch.arange(count) * stride).flatten()
        offset, page = parts.data_ptr() - base, mmap.PAGESIZE
        for start in (starts * width + offset).tolist():
            first, last = -(-start // page) * page, (start + parts.shape[-1] * width) // page * page
            if first < last:
                self._map.madvise(mmap.MADV_DONTNEED, first, last - first)
