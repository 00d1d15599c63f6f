"""Drawn tokens equal those of the fully sorted vocabulary, which is rarely sorted."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from softprompt.sampling import SamplingParams, token_draw
from softprompt.sampling.token_draw import draw_token


def draw_naively(probabilities: Tensor, sampling: SamplingParams, number: float) -> int:
    """Draw a token with the whole vocabulary sorted."""
    sorted_probabilities, tokens = probabilities.sort(descending=True, stable=True)
    keep = torch.ones_like(sorted_probabilities, dtype=torch.bool)
    if sampling.top_k:
        keep[sampling.top_k :] = False
    keep &= sorted_probabilities >= sampling.min_p * sorted_probabilities[0]
    kept = sorted_probabilities * keep
    keep &= (kept.cumsum(dim=0) - kept) < sampling.top_p * kept.sum()
    keep[0] = True
    cumulative = (sorted_probabilities * keep).cumsum(dim=0)
    return int(
        tokens[
            min(int(torch.searchsorted(cumulative, number * float(cumulative[-1]), right=True)), int(keep.sum()) - 1)
        ]
    )


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
def test_draws_equal_those_of_the_sorted_vocabulary(
    fields: dict[str, Any], seed: int, scale: float, step: float, number: float
) -> None:
    """Also with many tokens of equal probability, which are ordered by id."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(token_draw, "TOP_COUNTS", (64, 512))
        check_drawn(fields, seed, scale, step, number)


def check_drawn(fields: dict[str, Any], seed: int, scale: float, step: float, number: float) -> None:
    logits = torch.randn(3000, generator=torch.Generator().manual_seed(seed)).double() * scale
    if step:
        logits = (logits / step).round() * step
    probabilities = logits.softmax(dim=-1)
    naive = SamplingParams(temperature=1.0, **{**fields, "top_k": min(fields["top_k"], 3000)})
    drawn = draw_token(probabilities, SamplingParams(temperature=1.0, **fields), number)
    assert drawn == draw_naively(probabilities, naive, number)


@pytest.mark.parametrize("filters", [{}, {"top_p": 0.9}, {"top_k": 50}, {"min_p": 0.05}])
def test_the_whole_vocabulary_is_rarely_sorted(filters: dict[str, float], monkeypatch: pytest.MonkeyPatch) -> None:
    """A trained model's next token is usually one of few."""
    probabilities = (torch.randn(5000, generator=torch.Generator().manual_seed(0)).double() * 8).softmax(dim=-1)
    monkeypatch.setattr(token_draw, "_draw_from_all", lambda *_: -1)
    drawn = [draw_token(probabilities, SamplingParams(temperature=1.0, **filters), i / 100) for i in range(99)]  # type: ignore[arg-type]
    assert drawn.count(-1) <= 1
