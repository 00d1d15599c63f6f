"""Inverse transform sampling of a token from a number between 0 and 1.

Tokens are ranked by probability, and the cumulative probabilities map the number to a token. The whole vocabulary is
sorted only when necessary: it is large, and nearly all drawn tokens are among the first few. The top tokens decide only
if the whole ranking, beyond rounding errors, would give the same token.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from softprompt.sampling.sampling_params import SamplingParams

TOP_COUNTS = (512, 8192)  # numbers of top tokens; the second is tried if the first cannot decide
ROUNDING_TOLERANCE = 1e-9  # bound of the rounding error of a vocabulary's float64 sums


def draw_token(probabilities: Float[Tensor, "V"], params: SamplingParams, uniform: float) -> int:
    """Return the token at a point of the cumulative distribution that top-k, min-p and top-p leave.

    Args:
        probabilities: probabilities of all tokens, float64.
        params: sampling parameters.
        uniform: number from 0 to below 1.
    """
    for count in TOP_COUNTS:
        if 4 * count < len(probabilities):
            token_id = _draw_from_top(_rank_top_tokens(probabilities, count), params, uniform)
            if token_id is not None:
                return token_id
    return _draw_from_all(probabilities, params, uniform)


@dataclass(frozen=True)
class _RankedTokens:
    """Tokens in descending order of probability, equal ones in ascending order of id."""

    probabilities: Float[Tensor, "n"]
    token_ids: Int[Tensor, "n"]


def _rank_top_tokens(probabilities: Float[Tensor, "V"], count: int) -> _RankedTokens:
    """Rank the `count` most probable tokens, and those as probable as the last of them."""
    threshold = probabilities.topk(count, sorted=False).values.min()
    # Ties are included, so the order is that of the whole ranking.
    candidates = (probabilities >= threshold).nonzero()[:, 0]
    sorted_probabilities, order = probabilities[candidates].sort(descending=True, stable=True)
    return _RankedTokens(sorted_probabilities, candidates[order])


def _draw_from_all(probabilities: Float[Tensor, "V"], params: SamplingParams, uniform: float) -> int:
    sorted_probabilities, token_ids = probabilities.sort(descending=True, stable=True)
    keep = _top_k_min_p_mask(sorted_probabilities, params)
    kept_probabilities = sorted_probabilities * keep
    preceding = kept_probabilities.cumsum(dim=0) - kept_probabilities
    keep &= preceding < params.top_p * kept_probabilities.sum()  # the token that reaches top_p is kept
    keep[0] = True  # the product may underflow to 0
    cumulative = (sorted_probabilities * keep).cumsum(dim=0)
    index = int(torch.searchsorted(cumulative, uniform * float(cumulative[-1]), right=True))
    return int(token_ids[min(index, int(keep.sum()) - 1)])


def _top_k_min_p_mask(sorted_probabilities: Float[Tensor, "n"], params: SamplingParams) -> Bool[Tensor, "n"]:
    """Return which of the ranked tokens top-k and min-p keep."""
    allowed = sorted_probabilities >= params.min_p * sorted_probabilities[0]
    if params.top_k:
        allowed[min(params.top_k, len(sorted_probabilities)) :] = False
    return allowed


def _draw_from_top(ranked: _RankedTokens, params: SamplingParams, uniform: float) -> int | None:
    """Return the token if the top tokens decide it for certain; else None."""
    count = int(_top_k_min_p_mask(ranked.probabilities, params).sum())
    is_all = count < len(ranked.probabilities) or count == params.top_k  # top-k and min-p leave no other
    if not is_all and (params.top_k or params.min_p):
        return None
    cumulative = ranked.probabilities[:count].cumsum(dim=0)
    total = float(cumulative[-1]) if is_all else 1.0
    if params.top_p < 1:
        preceding = cumulative - ranked.probabilities[:count]
        num_kept = _count_before(preceding, params.top_p * total, right=False)
        if num_kept is None or (not is_all and num_kept == count):
            return None
        count = max(num_kept, 1)
        total, cumulative = float(cumulative[count - 1]), cumulative[:count]
    index = _count_before(cumulative, uniform * total, right=True)
    return None if index is None or index >= count else int(ranked.token_ids[index])


def _count_before(sorted_values: Float[Tensor, "n"], threshold: float, *, right: bool) -> int | None:
    """Return how many sorted values are below a threshold; None if rounding decides."""
    edges = torch.tensor(
        [threshold * (1 - ROUNDING_TOLERANCE), threshold * (1 + ROUNDING_TOLERANCE)],
        dtype=sorted_values.dtype,
        device=sorted_values.device,
    )
    low, high = torch.searchsorted(sorted_values, edges, right=right).tolist()
    return int(low) if low == high else None
