"""Which token a number between 0 and 1 draws.

The tokens stand in a line, the most probable first, each as long as its probability. The whole line is sorted only
where it has to be: the vocabulary is large, and nearly all that is drawn stands among the first few. What these tell
beyond rounding, they tell as the whole line would.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from softprompt.engine.request import Sampling

BEGINNINGS = (512, 8192)  # tokens of the line that are looked at, the second only where the first do not tell
ROUNDING = 1e-9  # more than sums of a vocabulary's probabilities differ by, in float64


def draw_token(probabilities: Float[Tensor, "V"], sampling: Sampling, number: float) -> int:
    """The token at a place of the line that top-k, min-p and top-p leave.

    Args:
        probabilities: of all tokens, float64.
        sampling: says which tokens may be drawn.
        number: the place, as a share of the line, from 0 up to 1.
    """
    for count in BEGINNINGS:
        if 4 * count < len(probabilities):
            token = _draw_from_beginning(_beginning(probabilities, count), sampling, number)
            if token is not None:
                return token
    return _draw_from_whole(probabilities, sampling, number)


@dataclass(frozen=True)
class _Line:
    """Tokens by their probabilities, those of the same one by their ids."""

    probabilities: Float[Tensor, "n"]
    tokens: Int[Tensor, "n"]


def _beginning(probabilities: Float[Tensor, "V"], count: int) -> _Line:
    """The first tokens of the line: so many, and those that are as probable as the last of them."""
    least = probabilities.topk(count, sorted=False).values.min()
    candidates = (probabilities >= least).nonzero()[:, 0]  # ties included, so the order is that of the whole line
    ordered, places = probabilities[candidates].sort(descending=True, stable=True)
    return _Line(ordered, candidates[places])


def _draw_from_whole(probabilities: Float[Tensor, "V"], sampling: Sampling, number: float) -> int:
    ordered, tokens = probabilities.sort(descending=True, stable=True)
    keep = _allowed(ordered, sampling)
    kept = ordered * keep
    keep &= (kept.cumsum(dim=0) - kept) < sampling.top_p * kept.sum()  # the one that reaches it is among them
    keep[0] = True  # the product may be too small to be told from 0
    reach = (ordered * keep).cumsum(dim=0)
    place = int(torch.searchsorted(reach, number * float(reach[-1]), right=True))
    return int(tokens[min(place, int(keep.sum()) - 1)])


def _allowed(ordered: Float[Tensor, "n"], sampling: Sampling) -> Bool[Tensor, "n"]:
    """Which of the first tokens of the line top-k and min-p leave."""
    allowed = ordered >= sampling.min_p * ordered[0]
    if sampling.top_k:
        allowed[min(sampling.top_k, len(ordered)) :] = False
    return allowed


def _draw_from_beginning(line: _Line, sampling: Sampling, number: float) -> int | None:
    """The token, if the beginning of the line tells it for certain; else None."""
    count = int(_allowed(line.probabilities, sampling).sum())
    is_all = count < len(line.probabilities) or count == sampling.top_k  # top-k and min-p leave no other
    if not is_all and (sampling.top_k or sampling.min_p):
        return None
    reach = line.probabilities[:count].cumsum(dim=0)
    total = float(reach[-1]) if is_all else 1.0
    if sampling.top_p < 1:
        before = reach - line.probabilities[:count]
        places = _places(before, sampling.top_p * total, right=False)
        if places is None or (not is_all and places == count):
            return None
        count = max(places, 1)
        total, reach = float(reach[count - 1]), reach[:count]
    place = _places(reach, number * total, right=True)
    return None if place is None or place >= count else int(line.tokens[place])


def _places(line: Float[Tensor, "n"], value: float, *, right: bool) -> int | None:
    """How many of a line stand before a value; None where rounding decides it."""
    edges = torch.tensor([value * (1 - ROUNDING), value * (1 + ROUNDING)], dtype=line.dtype, device=line.device)
    low, high = torch.searchsorted(line, edges, right=right).tolist()
    return int(low) if low == high else None
