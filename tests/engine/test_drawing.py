"""What is drawn is what the whole line of tokens draws, though it is seldom sorted."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from softprompt.engine import drawing
from softprompt.engine.drawing import draw_token
from softprompt.engine.request import Sampling


def draw_naively(probabilities: Tensor, sampling: Sampling, number: float) -> int:
    """As it was first written: with all tokens sorted."""
    ordered, tokens = probabilities.sort(descending=True, stable=True)
    keep = torch.ones_like(ordered, dtype=torch.bool)
    if sampling.top_k:
        keep[sampling.top_k :] = False
    keep &= ordered >= sampling.min_p * ordered[0]
    kept = ordered * keep
    keep &= (kept.cumsum(dim=0) - kept) < sampling.top_p * kept.sum()
    keep[0] = True
    reach = (ordered * keep).cumsum(dim=0)
    return int(tokens[min(int(torch.searchsorted(reach, number * float(reach[-1]), right=True)), int(keep.sum()) - 1)])


FIELDS = st.fixed_dictionaries(
    {
        "top_k": st.sampled_from([0, 1, 5, 511, 512, 513, 4000, 10**30]),
        "top_p": st.sampled_from([1.0, 0.999, 0.9, 0.5, 1e-6, 5e-324]),
        "min_p": st.sampled_from([0.0, 0.0, 1e-9, 0.1, 1.0]),
    }
)


@given(
    fields=FIELDS,
    seed=st.integers(0, 2**32),
    scale=st.sampled_from([0.0, 0.3, 2.0, 8.0, 200.0]),
    step=st.sampled_from([0.0, 0.5]),
    number=st.one_of(st.just(0.0), st.just(1 - 2**-53), st.floats(0, 1, exclude_max=True)),
)
def test_it_draws_what_the_whole_line_draws(
    fields: dict[str, Any], seed: int, scale: float, step: float, number: float
) -> None:
    """With many tokens of the same probability too, of which the first by its id comes first."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(drawing, "BEGINNINGS", (64, 512))
        check_drawn(fields, seed, scale, step, number)


def check_drawn(fields: dict[str, Any], seed: int, scale: float, step: float, number: float) -> None:
    logits = torch.randn(3000, generator=torch.Generator().manual_seed(seed)).double() * scale
    if step:
        logits = (logits / step).round() * step
    probabilities = logits.softmax(dim=-1)
    naive = Sampling(temperature=1.0, **{**fields, "top_k": min(fields["top_k"], 3000)})
    drawn = draw_token(probabilities, Sampling(temperature=1.0, **fields), number)
    assert drawn == draw_naively(probabilities, naive, number)


@pytest.mark.parametrize("narrow", [{}, {"top_p": 0.9}, {"top_k": 50}, {"min_p": 0.05}])
def test_the_whole_line_is_seldom_sorted(narrow: dict[str, float], monkeypatch: pytest.MonkeyPatch) -> None:
    """A trained model's next token is mostly one of few."""
    probabilities = (torch.randn(5000, generator=torch.Generator().manual_seed(0)).double() * 8).softmax(dim=-1)
    monkeypatch.setattr(drawing, "_draw_from_whole", lambda *_: -1)
    drawn = [draw_token(probabilities, Sampling(temperature=1.0, **narrow), i / 100) for i in range(99)]  # type: ignore[arg-type]
    assert drawn.count(-1) <= 1
