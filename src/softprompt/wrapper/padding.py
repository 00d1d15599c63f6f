"""What stands where rows are shorter than their batch: which token, on which side, and who must not see it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from transformers import (
    GenerationConfig,
    LogitsProcessor,
    NoRepeatNGramLogitsProcessor,
    RepetitionPenaltyLogitsProcessor,
)


def moved_left(tensor: Tensor, mask: Bool[Tensor, "B T"]) -> Tensor:
    """The rows of a batch, `[B, T]` or `[B, T, E]`, with their padding in front, wherever it was."""
    order = mask.long().argsort(dim=1, stable=True)
    index = order if tensor.ndim == 2 else order.unsqueeze(-1).expand_as(tensor)
    return tensor.gather(1, index)


class WithoutPadding(LogitsProcessor):
    """Has a processor look at what a row says, and not at the padding in front of it.

    Args:
        inner: looks at the tokens alone, not at how many they are.
        starts: `[B]`, where each row's text begins.
    """

    def __init__(self, inner: LogitsProcessor, starts: Int[Tensor, "B"]):
        self._inner, self._starts = inner, starts

    def __call__(self, input_ids: Int[Tensor, "R S"], scores: Float[Tensor, "R V"]) -> Float[Tensor, "R V"]:
        """Each row by itself; R is a multiple of B, where beams or several responses make more of them."""
        starts = self._starts.repeat_interleave(len(input_ids) // len(self._starts)).tolist()
        rows = [self._inner(input_ids[i : i + 1, start:], scores[i : i + 1]) for i, start in enumerate(starts)]
        return torch.cat(rows)


def blind_to_padding(
    options: dict[str, Any], configs: Sequence[GenerationConfig | None], starts: Int[Tensor, "B"]
) -> tuple[dict[str, Any], list[LogitsProcessor]]:
    """Options without those that look at a row's tokens, and processors that do the same without its padding.

    transformers would take the pad token for a word that the row has said, so an answer would depend on its batch.
    """
    if not starts.any():
        return options, []
    made: list[LogitsProcessor] = []
    if (penalty := _said("repetition_penalty", options, configs)) not in (None, 1):
        made.append(RepetitionPenaltyLogitsProcessor(penalty=penalty))
    if size := _said("no_repeat_ngram_size", options, configs):
        made.append(NoRepeatNGramLogitsProcessor(size))
    neutral = {"repetition_penalty": 1.0, "no_repeat_ngram_size": 0} if made else {}
    return options | neutral, [WithoutPadding(each, starts) for each in made]


def _said(name: str, options: Mapping[str, Any], configs: Sequence[GenerationConfig | None]) -> Any:
    values = [options.get(name), *(getattr(config, name, None) for config in configs)]
    return next((value for value in values if value is not None), None)
