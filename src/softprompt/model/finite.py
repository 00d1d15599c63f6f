"""Which rows have finite numbers alone."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor


def find_finite_rows(logits: Float[Tensor, "B V"]) -> Bool[Tensor, "B"]:
    """The rows without NaN and infinite numbers.

    A sum is not finite where one of its numbers is not, and is made far faster than each is looked at. A sum of finite
    numbers may be infinite, so then they are looked at.
    """
    finite = logits.sum(dim=-1, dtype=torch.float32).isfinite()
    return finite if bool(finite.all()) else logits.isfinite().all(dim=-1)
