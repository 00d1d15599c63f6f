"""Detection of NaN and infinite logits."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor


def has_finite_logits(logits: Float[Tensor, "B V"]) -> Bool[Tensor, "B"]:
    """Return for each sequence whether all of its logits are finite.

    A sum is not finite if one of its terms is not, and is far faster than a check of every logit. A sum of finite
    logits may overflow, so all logits are checked if a sum is not finite.
    """
    finite = logits.sum(dim=-1, dtype=torch.float32).isfinite()
    return finite if bool(finite.all()) else logits.isfinite().all(dim=-1)
