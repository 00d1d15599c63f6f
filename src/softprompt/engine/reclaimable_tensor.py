"""Tensor in anonymous memory, which is occupied when it is first written and can be returned to the system in parts."""

from __future__ import annotations

import math
import mmap
from collections.abc import Sequence

import torch
from torch import Tensor


class ReclaimableTensor:
    """Tensor of zeros whose parts can be released. On systems without `madvise`, releasing has no effect.

    Attributes:
        tensor: the tensor.
    """

    def __init__(self, size: Sequence[int], device: torch.device, dtype: torch.dtype):
        self._mmap: mmap.mmap | None = None
        if device.type == "cpu" and hasattr(mmap, "MADV_DONTNEED"):
            # Private, since shared memory would not be released.
            flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
            self._mmap = mmap.mmap(-1, math.prod(size) * dtype.itemsize, flags=flags)
            self.tensor = torch.frombuffer(self._mmap, dtype=dtype).view(*size)
        else:
            self.tensor = torch.zeros(*size, device=device, dtype=dtype)

    def release_memory(self, views: Tensor) -> None:
        """Release the memory of a part of the tensor, except pages that contain other data.

        Args:
            views: view `[…, N]` of the tensor, contiguous along N. Afterwards each number is zero or unchanged.
        """
        if self._mmap is None:
            return
        itemsize, base = views.dtype.itemsize, self.tensor.data_ptr()
        starts = torch.tensor(0)
        for length, stride in zip(views.shape[:-1], views.stride()[:-1], strict=True):
            starts = (starts.unsqueeze(-1) + torch.arange(length) * stride).flatten()
        offset, page = views.data_ptr() - base, mmap.PAGESIZE
        for start in (starts * itemsize + offset).tolist():
            first, last = -(-start // page) * page, (start + views.shape[-1] * itemsize) // page * page
            if first < last:
                self._mmap.madvise(mmap.MADV_DONTNEED, first, last - first)
